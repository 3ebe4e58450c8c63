use super::*;
use crate::model::bundle::ExtraFile;
use crate::model::json::Value;
use crate::model::json::json;

fn manager(filters: Value) -> Value {
    json!({"name": "hcm", "typed_config": {
        "@type": format!("type.googleapis.com/{CONNECTION_MANAGER}"),
        "rds": {"route_config_name": "http.8080"}, "http_filters": filters}})
}

fn ext_proc() -> Value {
    json!({"name": "anything", "typed_config": {"@type": format!("type.googleapis.com/{EXT_PROC}"),
        "grpc_service": {"envoy_grpc": {"cluster_name": "outbound|50051||mcp-gateway.a.svc.cluster.local"}}}})
}

fn config() -> Value {
    json!({"configs": [
        {"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "dynamic_listeners": [
            {"name": "0.0.0.0_8443",
                "error_state": {"details": "bad filter", "last_update_attempt": "2026-09-14T10:00:00Z"},
                "active_state": {"last_updated": "2026-09-14T09:00:00Z", "listener": {
                    "address": {"socket_address": {"address": "0.0.0.0", "port_value": 8443}},
                    "filter_chains": [
                        {"filter_chain_match": {"server_names": ["a.example.com"]},
                            "filters": [manager(json!([ext_proc(), {"name": "router"}]))]},
                        {"filters": [{"name": "tcp", "typed_config": {"@type": "x/envoy.TcpProxy"}}]}],
                    "default_filter_chain": {"filters": [manager(json!([
                        {"name": "wasm", "typed_config": {"@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
                            "type_url": format!("type.googleapis.com/{WASM}"), "value": {"config": {}}}},
                        {"name": "discovered", "config_discovery": {"type_urls": [format!("type.googleapis.com/{EXT_PROC}")]}}]))]}}}},
            {"name": "0.0.0.0_9000", "warming_state": {"listener": {}}}]},
        {"@type": "type.googleapis.com/envoy.admin.v3.EcdsConfigDump", "ecds_filters": [
            {"ecds_filter": {"name": "discovered", "typed_config": ext_proc()["typed_config"].clone()}}]},
        {"@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump", "dynamic_route_configs": [
            {"route_config": {"name": "http.8080", "virtual_hosts": [
                {"domains": ["weather.mcp.local:*", "*.example.com"], "routes": []}]}}]}]})
}

fn proxy<'a>(bundle: &'a mut Bundle, files: &[(&str, Vec<u8>)]) -> Proxy<'a> {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "g", "name": "p"}});
    bundle.add_object(Object::new(pod, "f".into(), None).expect("a pod"));
    for (name, content) in files {
        bundle.add_extra(ExtraFile { file: format!("mcpgw/envoy/g/p/{name}"), content: content.clone() });
    }
    Proxy::read(bundle, bundle.get(&crate::model::kinds::POD, "g", "p").expect("the pod"))
}

#[test]
fn filters_are_known_by_type_in_every_chain() {
    let mut bundle = Bundle::default();
    let proxy = proxy(&mut bundle, &[("config_dump.json", config().to_string().into_bytes())]);
    let listener = proxy.listener_on(&[8443]).expect("known").expect("a listener");
    assert!(listener.is_active() && listener.chains.len() == 3);
    let kinds: Vec<Option<Vec<&str>>> = listener
        .chains
        .iter()
        .map(|c| {
            Some(c.filters.as_ref()?.iter().map(|f| f.kind.rsplit('.').next().unwrap_or_default()).collect())
        })
        .collect();
    assert_eq!(kinds, [Some(vec!["ExternalProcessor", ""]), None, Some(vec!["Wasm", "ExternalProcessor"])]);
    let filter = &listener.chains[0].filters.as_ref().expect("filters")[0];
    assert_eq!(filter.cluster(), "outbound|50051||mcp-gateway.a.svc.cluster.local");
    let dump = proxy.dump().expect("a dump");
    let evidence = json_evidence(&dump.file, &dump.value, &format!("{}/name", filter.pointer), None);
    assert_eq!(evidence.value.as_deref(), Some("anything"), "the pointer leads to the filter");
    assert!(proxy.listener_on(&[9000]).expect("known").is_some_and(|l| !l.is_active() && l.warming));
    assert!(proxy.listener_on(&[1]).expect("known").is_none());
    assert!(proxy.clusters().is_err(), "a section that is not there is unknown");
    let rejections = dump.rejections();
    assert_eq!((rejections.len(), rejections[0].details.as_str()), (1, "bad filter"));
    let hosts = proxy.virtual_hosts().expect("routes");
    assert!(hosts[0].serves("weather.mcp.local") && hosts[0].serves("a.example.com"));
    assert!(!hosts[0].serves("example.com") && !hosts[0].serves("other.local"));
}

#[test]
fn a_dump_that_is_cut_off_keeps_its_whole_sections() {
    let text = config().to_string();
    let whole = Dump::parse("f", text.as_bytes()).expect("a dump");
    assert!(!whole.truncated);
    let cut = text.find("RoutesConfigDump").expect("the section");
    let dump = Dump::parse("f", &text.as_bytes()[..cut]).expect("a dump");
    assert!(dump.truncated && dump.section("ListenersConfigDump").is_some());
    assert!(dump.section("RoutesConfigDump").is_none());
    for nothing in [&b""[..], b"[]", b"{}", b"{\"configs\":[", b"upstream connect error"] {
        assert!(Dump::parse("f", nothing).is_none());
    }
}

#[test]
fn what_is_kept_of_a_dump_says_the_same() {
    let mut configs = config()["configs"].as_array().expect("sections").to_vec();
    configs.extend([
        json!({"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "dynamic_active_clusters": [
            {"version_info": "1", "cluster": {"name": "a", "type": "EDS", "metadata": {"much": "more"}}},
            {"name": "b", "error_state": {"details": "it is not right", "last_update_attempt": "now"}}]}),
        json!("no section"),
        json!({"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": {"node": {"id": "x"}}}),
        json!({"@type": "type.googleapis.com/envoy.admin.v3.EndpointsConfigDump", "dynamic_endpoint_configs": [
            {"endpoint_config": {"cluster_name": "a", "policy": {"much": "more"}, "endpoints": [{"lb_endpoints": [
                {"health_status": "UNHEALTHY", "metadata": {}, "endpoint": {"address": {"socket_address": {"address": "10.0.0.1", "port_value": 80}}}}]}]}}]}),
    ]);
    let text = json!({"configs": configs}).to_string();
    for length in [text.len(), text.len() - 2, text.find("EndpointsConfigDump").expect("the section")] {
        let text = &text.as_bytes()[..length];
        let (direct, kept) = (Dump::parse("f", text).expect("a dump"), lean(&mut &*text));
        let again = Dump::parse("f", &kept).expect("a dump");
        assert_eq!((again.truncated, &again.value), (direct.truncated, &direct.value));
        assert!(!String::from_utf8(kept).expect("JSON").contains("much"));
        assert!(direct.rejections().iter().any(|rejection| rejection.name == "b"));
        assert_eq!(direct.section("ClustersConfigDump").map(|(at, _)| at), Some(config_sections()));
    }
    let dump = Dump::parse("f", text.as_bytes()).expect("a dump");
    let (_, endpoints) = dump.section("EndpointsConfigDump").expect("the section");
    let health = runtime::endpoints(endpoints, "a").expect("a cluster");
    assert_eq!((health.hosts[0].address.as_str(), health.healthy()), ("10.0.0.1:80", 0));
    assert_eq!(lean(&mut &b"upstream connect error"[..]), b"null");
}

/// How many sections the configuration of these tests has.
fn config_sections() -> usize {
    config()["configs"].as_array().expect("sections").len()
}

#[test]
fn host_health_is_the_same_from_text_and_json() {
    let text = "c|1::observability_name::c|1\nc|1::10.0.0.1:80::cx_total::4\nc|1::10.0.0.1:80::cx_connect_fail::4\n\
                c|1::10.0.0.1:80::health_flags::/failed_eds_health\nempty::added_via_api::true\n";
    let json = json!({"cluster_statuses": [
        {"name": "c|1", "host_statuses": [{"address": {"socket_address": {"address": "10.0.0.1", "port_value": 80}},
            "stats": [{"name": "cx_total", "value": "4"}, {"name": "cx_connect_fail", "value": "4"}],
            "health_status": {"eds_health_status": "UNHEALTHY"}}]},
        {"name": "empty"}]});
    for (name, content) in
        [("clusters.txt", text.as_bytes().to_vec()), ("clusters.json", json.to_string().into_bytes())]
    {
        let mut bundle = Bundle::default();
        let proxy = proxy(&mut bundle, &[(name, content)]);
        let (_, health) = proxy.health("c|1").expect("known");
        assert!(health.never_connects() && health.healthy() == 0 && health.hosts.len() == 1, "{name}");
        assert_eq!(proxy.health("empty").expect("known").1.hosts.len(), 0);
    }
}

#[test]
fn what_envoy_does_not_count_is_unknown() {
    let stats =
        Stats::parse("f", "listener_manager.lds.update_rejected: 2\nx.version_text: \"a\"\nh: P0(1,2)\n");
    assert_eq!(stats.get("listener_manager.lds.update_rejected"), Some((2, 1)));
    assert_eq!(stats.get("http.ext_proc.streams_failed"), None);
}

proptest::proptest! {
    #[test]
    fn no_cut_of_a_dump_panics(at in 0..2000usize) {
        let text = config().to_string();
        let _ = Dump::parse("f", &text.as_bytes()[..at.min(text.len())]);
    }
}
