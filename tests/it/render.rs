//! Every form of a report, over reports of every shape.

use oc_mcpgw::redact::{Options, RedactedReport, Redactor};
use oc_mcpgw::render::{self, TextOptions};
use oc_mcpgw::report::*;

fn object(api_version: &str, kind: &str, namespace: &str, name: &str) -> ObjectRef {
    ObjectRef {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        namespace: Some(namespace).filter(|ns| !ns.is_empty()).map(str::to_owned),
        name: name.to_owned(),
    }
}

fn evidence(file: &str, line: u64, path: &str, value: &str, note: &str) -> Evidence {
    let some = |text: &str| Some(text).filter(|text| !text.is_empty()).map(str::to_owned);
    Evidence {
        file: file.to_owned(),
        path: some(path),
        line: Some(line).filter(|line| *line > 0),
        value: some(value),
        note: some(note),
    }
}

fn finding(id: &str, code: &str, name: &str, severity: Severity, title: &str, subject: ObjectRef) -> Finding {
    Finding {
        id: id.to_owned(),
        code: code.to_owned(),
        name: name.to_owned(),
        severity,
        title: title.to_owned(),
        objects: vec![subject],
        evidence: Vec::new(),
        remedy: Remedy::default(),
        caused_by: Vec::new(),
        hidden_behind: Vec::new(),
        section: "1.2.2".to_owned(),
        docs: format!("explain {code}"),
    }
}

/// A finding that follows from another.
fn consequence(
    id: &str,
    (code, name): (&str, &str),
    title: &str,
    subject: ObjectRef,
    cause: &str,
    seen: Evidence,
) -> Finding {
    let mut finding = finding(id, code, name, Severity::Error, title, subject);
    finding.caused_by = vec![cause.to_owned()];
    finding.evidence = vec![seen];
    finding
}

/// The listener whose host several routes miss.
fn listener() -> Evidence {
    let file = "namespaces/gateway-system/gateway.networking.k8s.io/gateways/mcp.yaml";
    evidence(file, 33, "spec.listeners[1].hostname", "*.mcp.example.com", "")
}

fn report(findings: Vec<Finding>, unknown: Vec<Unknown>) -> Report {
    let mut report = Report {
        schema_version: SCHEMA_VERSION.to_owned(),
        tool: Tool { name: "oc-mcpgw".to_owned(), version: "0.1.0".to_owned() },
        bundle: BundleInfo {
            cluster: Some("prod-eu-1".to_owned()),
            collected_at: Some("2026-07-21T09:14:03Z".to_owned()),
            source: "gather".to_owned(),
        },
        summary: Summary::default(),
        findings,
        unknown,
        coverage: Coverage {
            rules_decided: 96,
            rules_unknown: 4,
            objects: [
                ("Pod", 214),
                ("Event", 120),
                ("Service", 31),
                ("HTTPRoute", 12),
                ("ReplicaSet", 12),
                ("MCPServerRegistration", 3),
                ("Gateway", 1),
                ("MCPGatewayExtension", 1),
                ("EnvoyFilter", 1),
                ("AuthPolicy", 2),
            ]
            .map(|(kind, number)| (kind.to_owned(), number))
            .into(),
            logs: 14,
            skipped: Vec::new(),
            only: Vec::new(),
            severity: None,
        },
        suppressions: Vec::new(),
        topology: None,
        timeline: Vec::new(),
    };
    report.count();
    report
}

fn unknown() -> Vec<Unknown> {
    let entry = |rule: &str, code: &str, missing: &str, how: &str| Unknown {
        rule: rule.to_owned(),
        codes: vec![code.to_owned()],
        missing: missing.to_owned(),
        how_to_gather: how.to_owned(),
    };
    let namespaces = |rule, code| {
        let refusal = "403 Forbidden: User \"dev\" cannot list resource \"namespaces\" at the cluster scope";
        entry(rule, code, &format!("namespaces: {refusal}"), "oc get namespaces -o yaml")
    };
    vec![
        namespaces("route-not-allowed", "MG214"),
        namespaces("extension-not-allowed", "MG308"),
        entry(
            "broker-upstream-failing",
            "MG417",
            "the broker's /status: the pod is not running",
            "oc mcpgw gather --probe http",
        ),
    ]
}

/// Three independent faults, one hidden behind another, with their consequences.
fn three_roots() -> Report {
    let pod = object("v1", "Pod", "mcp-system", "mcp-gateway-6c9f7d5b8-x2x4q");
    let mut pull = finding(
        "R1",
        "MG101",
        "image-pull",
        Severity::Error,
        "Pod mcp-system/mcp-gateway-6c9f7d5b8-x2x4q cannot pull its image: access denied",
        pod,
    );
    pull.section = "1.1.2".to_owned();
    pull.evidence = vec![
        evidence(
            "namespaces/mcp-system/core/pods.yaml",
            212,
            "items[0].status.containerStatuses[0].state.waiting.reason",
            "ImagePullBackOff",
            "for 41 minutes",
        ),
        evidence(
            "namespaces/mcp-system/core/events.yaml",
            88,
            "items[3].message",
            "Failed to pull image \"registry.example.com/rhcl/mcp-gateway:1.3\": unauthorized: access to the requested resource is not authorized",
            "17 times, first 08:33:10Z",
        ),
        evidence(
            "namespaces/mcp-system/apps/deployments.yaml",
            41,
            "items[0].spec.template.spec.imagePullSecrets",
            "",
            "absent",
        ),
    ];
    pull.remedy = Remedy {
        text: "Give the service account a pull secret for registry.example.com, then let the Pod start again."
            .to_owned(),
        commands: vec![
            "oc -n mcp-system create secret docker-registry rhcl-pull --docker-server=registry.example.com --docker-username=USER --docker-password=\"${PASSWORD}\"".to_owned(),
            "oc -n mcp-system secrets link mcp-gateway rhcl-pull --for=pull".to_owned(),
        ],
        verify: vec![
            "oc -n mcp-system wait --for=condition=Ready mcpgatewayextension/mcp --timeout=120s".to_owned(),
        ],
    };
    let deployment = consequence(
        "S1",
        ("MG107", "no-replicas"),
        "Deployment mcp-system/mcp-gateway has 0 of 1 replicas available",
        object("apps/v1", "Deployment", "mcp-system", "mcp-gateway"),
        "R1",
        evidence(
            "namespaces/mcp-system/apps/deployments.yaml",
            77,
            "items[0].status.unavailableReplicas",
            "1",
            "",
        ),
    );
    let broker = consequence(
        "S2",
        ("MG312", "broker-not-ready"),
        "MCPGatewayExtension mcp-system/mcp is not Ready: DeploymentNotReady",
        object("mcp.kuadrant.io/v1", "MCPGatewayExtension", "mcp-system", "mcp"),
        "S1",
        evidence(
            "namespaces/mcp-system/mcp.kuadrant.io/mcpgatewayextensions/mcp.yaml",
            33,
            "status.conditions[0].reason",
            "DeploymentNotReady",
            "",
        ),
    );
    let registration = consequence(
        "S3",
        ("MG403", "registration-not-ready"),
        "MCPServerRegistration weather/weather is not Ready: no valid mcpgatewayextensions configured",
        object("mcp.kuadrant.io/v1", "MCPServerRegistration", "weather", "weather"),
        "S2",
        evidence(
            "namespaces/weather/mcp.kuadrant.io/mcpserverregistrations/weather.yaml",
            29,
            "status.conditions[0].message",
            "no valid mcpgatewayextensions configured",
            "",
        ),
    );
    let mut cel = finding(
        "R2",
        "MG806",
        "cel-syntax",
        Severity::Error,
        "AuthPolicy gateway-system/mcp-tools: predicate of rule \"tool-access\" reads '-' as minus",
        object("kuadrant.io/v1", "AuthPolicy", "gateway-system", "mcp-tools"),
    );
    cel.section = "1.8.3".to_owned();
    cel.evidence = vec![evidence(
        "namespaces/gateway-system/kuadrant.io/authpolicies/mcp-tools.yaml",
        58,
        "spec.rules.authorization['tool-access'].patternMatching.patterns[0].predicate",
        "request.headers.x-mcp-toolname in auth.identity.tools\n                ^^^^^^^^^^^^^^ reads as request.headers.x - mcp - toolname",
        "undeclared names mcp, toolname",
    )];
    cel.remedy = Remedy {
        text: "Quote the header's name.".to_owned(),
        commands: vec![
            "oc -n gateway-system patch authpolicy mcp-tools --type=json -p '[{\"op\":\"replace\",\"path\":\"/spec/rules/authorization/tool-access/patternMatching/patterns/0/predicate\",\"value\":\"request.headers[\\'x-mcp-toolname\\'] in auth.identity.tools\"}]'".to_owned(),
        ],
        verify: Vec::new(),
    };
    let mut strict = finding(
        "R3",
        "MG423",
        "registration-chain-strict",
        Severity::Warning,
        "Host api.weather.mcp.example.com of HTTPRoute weather/weather-route is accepted by the Gateway, but not by the MCP gateway",
        object("gateway.networking.k8s.io/v1", "HTTPRoute", "weather", "weather-route"),
    );
    strict.section = "1.4.4".to_owned();
    strict.hidden_behind = vec!["R1".to_owned()];
    strict.evidence = vec![
        evidence(
            "namespaces/weather/gateway.networking.k8s.io/httproutes/weather-route.yaml",
            14,
            "spec.hostnames[0]",
            "api.weather.mcp.example.com",
            "two labels in front of the listener's domain",
        ),
        listener(),
    ];
    strict.remedy.text =
        "Add sectionName: mcps to the route's parentRef, or use weather.mcp.example.com.".to_owned();
    report(vec![pull, cel, strict, deployment, broker, registration], unknown())
}

/// One root and nothing open.
fn one_root() -> Report {
    let mut only = three_roots().findings.swap_remove(1);
    only.id = "R1".to_owned();
    let mut report = report(vec![only], Vec::new());
    report.coverage.rules_decided += report.coverage.rules_unknown;
    report.coverage.rules_unknown = 0;
    report
}

/// Sixty findings: thirty roots of two codes, and one cascade.
fn sixty() -> Report {
    let mut findings = Vec::new();
    for at in 1..=30 {
        let namespace = format!("team-{at:02}");
        let (code, name, severity) = if at % 5 == 0 {
            ("MG418", "registration-disabled", Severity::Info)
        } else {
            ("MG213", "route-hostname-mismatch", Severity::Error)
        };
        let mut root = finding(
            &format!("R{at}"),
            code,
            name,
            severity,
            &format!(
                "HTTPRoute {namespace}/orders: no hostname intersects that of listener mcps (*.mcp.example.com)"
            ),
            object("gateway.networking.k8s.io/v1", "HTTPRoute", &namespace, "orders"),
        );
        root.evidence = vec![
            evidence(
                &format!("namespaces/{namespace}/gateway.networking.k8s.io/httproutes/orders.yaml"),
                12,
                "spec.hostnames[0]",
                "orders.example.org",
                "",
            ),
            listener(),
        ];
        root.remedy.text = "Use a hostname below mcp.example.com.".to_owned();
        root.remedy.commands = vec![format!(
            "oc -n {namespace} patch httproute orders --type=merge -p '{{\"spec\":{{\"hostnames\":[\"orders.mcp.example.com\"]}}}}'"
        )];
        findings.push(root);
    }
    for at in 1..=30 {
        let namespace = format!("team-{at:02}");
        let file = format!("namespaces/{namespace}/mcp.kuadrant.io/mcpserverregistrations/orders.yaml");
        findings.push(consequence(
            &format!("S{at}"),
            ("MG403", "registration-not-ready"),
            &format!("MCPServerRegistration {namespace}/orders is not Ready"),
            object("mcp.kuadrant.io/v1", "MCPServerRegistration", &namespace, "orders"),
            "R1",
            evidence(&file, 30, "status.conditions[0].status", "False", ""),
        ));
    }
    report(findings, unknown())
}

fn redacted(report: Report) -> RedactedReport {
    Redactor::new(Options::default()).report(report)
}

fn text(report: Report, width: usize) -> String {
    let options =
        TextOptions { width, bundle: Some("must-gather-0721.tar.gz".to_owned()), ..TextOptions::default() };
    render::text(&redacted(report), &options)
}

#[test]
fn three_roots_on_a_terminal() {
    insta::assert_snapshot!(text(three_roots(), 100));
}

#[test]
fn three_roots_on_a_narrow_terminal() {
    insta::assert_snapshot!(text(three_roots(), 60));
}

#[test]
fn one_root_on_a_terminal() {
    insta::assert_snapshot!(text(one_root(), 80));
}

#[test]
fn sixty_findings_are_folded() {
    insta::assert_snapshot!(text(sixty(), 120));
}

/// A page with hundreds of consequences under its first root would hide the others.
#[test]
fn what_follows_from_one_root_is_folded_on_the_page() {
    let page = render::html(&redacted(sixty()));
    assert_eq!(page.matches("<details class=\"more\"><summary>5 more</summary>").count(), 1);
    assert_eq!(page.matches("<details").count(), page.matches("</details>").count());
    assert!(!render::html(&redacted(three_roots())).contains("class=\"more\""));
}

#[test]
fn no_finding_is_not_said_without_coverage() {
    insta::assert_snapshot!(text(report(Vec::new(), unknown()), 100));
}

#[test]
fn an_empty_bundle_is_not_a_healthy_one() {
    let mut empty = report(Vec::new(), Vec::new());
    empty.coverage = Coverage { skipped: vec!["README: not an object".to_owned()], ..Coverage::default() };
    insta::assert_snapshot!(text(empty, 100));
}

#[test]
fn the_roots_in_short() {
    insta::assert_snapshot!(render::roots(&redacted(three_roots()), &TextOptions::default()));
}

/// What can be reached with the keyboard is not nested, and what scrolls can be reached.
#[test]
fn the_page_can_be_used_without_a_mouse() {
    let page = render::html(&redacted(three_roots()));
    let summaries: Vec<&str> = page.split("<summary>").skip(1).collect();
    assert!(summaries.len() > 3, "{page}");
    for summary in summaries {
        let summary = summary.split("</summary>").next().unwrap_or_default();
        assert!(!summary.contains("<a "), "{summary}");
    }
    assert_eq!(
        page.matches("class=\"scroll\"").count(),
        page.matches("class=\"scroll\" tabindex=\"0\"").count()
    );
}

/// The winner of a conflict goes on as before, and what nobody registered is no server.
#[test]
fn the_effect_counts_servers_that_are_touched() {
    for (code, name, expected) in [
        ("MG413", "two servers with one prefix", Some("on 1 of 4 servers")),
        ("MG422", "an entry that nobody registered", None),
        ("MG301", "the target's name has a typo", Some("on 4 of 4 servers")),
    ] {
        let broken = crate::faults::named(code, name, crate::fixture::Fixture::healthy());
        let text = text(broken.report(), 100);
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix("effect"));
        assert_eq!(line.map(str::trim), expected, "{text}");
    }
}

#[test]
fn three_roots_for_a_support_case() {
    insta::assert_snapshot!(render::markdown(&redacted(three_roots())));
}

#[test]
fn a_support_case_never_exceeds_sixty_lines() {
    for report in [sixty(), three_roots(), one_root(), report(Vec::new(), unknown())] {
        let text = render::markdown(&redacted(report));
        assert!(text.lines().count() <= 60, "{text}");
    }
}

#[test]
fn three_roots_as_sarif() {
    let text = render::sarif(&redacted(three_roots()));
    let log: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let run = &log["runs"][0];
    // The pages change with the catalogue; what must hold is that results point at their rule.
    for result in run["results"].as_array().expect("results") {
        if let Some(index) = result["ruleIndex"].as_u64() {
            assert_eq!(run["tool"]["driver"]["rules"][index as usize]["id"], result["ruleId"]);
        }
    }
    let results: Vec<_> = run["results"]
        .as_array()
        .expect("results")
        .iter()
        .map(|result| {
            let mut result = result.clone();
            result.as_object_mut().expect("an object").remove("ruleIndex");
            result
        })
        .collect();
    insta::assert_json_snapshot!(results);
}

#[test]
fn three_roots_as_junit() {
    let mut report = three_roots();
    report.coverage.only = ["MG101", "MG107", "MG312", "MG403", "MG423", "MG806"].map(str::to_owned).into();
    insta::assert_snapshot!(render::junit(&redacted(report), Some(Severity::Error)));
}
