//! Roots and consequences: what the causal graph makes of faults, alone and together.

use std::collections::BTreeSet;

use oc_mcpgw::report::{Finding, Report};
use rayon::prelude::*;

use crate::faults::{self, Fault};
use crate::fixture::{Fixture, quietly};

/// The roots of a report as `CODE subject`.
fn roots(report: &Report) -> Vec<String> {
    let roots = report.findings.iter().filter(|f| f.caused_by.is_empty());
    roots.map(line).collect()
}

fn line(finding: &Finding) -> String {
    format!("{} {}", finding.code, finding.objects[0])
}

/// The whole report in short, for messages of failing tests.
fn outline(report: &Report) -> String {
    let lines = report.findings.iter().map(|f| {
        format!("  {} {} by {:?} hidden {:?}: {}", f.id, line(f), f.caused_by, f.hidden_behind, f.title)
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_faulty_installation_has_its_three_roots() {
    let report = Fixture::faulty().report();
    let mut found = roots(&report);
    found.sort();
    let expected = [
        "MG101 Deployment mcp-system/mcp-gateway",
        "MG213 HTTPRoute team-weather/weather",
        "MG602 MCPServerRegistration team-commerce/orders",
    ];
    assert_eq!(found, expected, "{}", outline(&report));
    let hidden = report.findings.iter().find(|f| f.code == "MG602").expect("found above");
    assert!(!hidden.hidden_behind.is_empty(), "{}", outline(&report));
}

/// What breaks all servers, what breaks one, what may break one.
#[test]
fn what_blocks_most_comes_first() {
    let fixture = faults::named("MG109", "node under memory pressure", Fixture::healthy());
    let fixture = faults::named("MG410", "the selector has a typo", fixture);
    let report = faults::named("MG221", "the selector was edited", fixture).report();
    let mut roots: Vec<&Finding> = report.findings.iter().filter(|f| f.caused_by.is_empty()).collect();
    roots.sort_by_key(|root| root.id[1..].parse::<usize>().expect("a number"));
    let codes: Vec<&str> = roots.iter().map(|root| root.code.as_str()).collect();
    assert_eq!(codes, ["MG221", "MG410", "MG109"], "{}", outline(&report));
}

/// One fault is one root, whatever follows from it.
#[test]
fn every_fault_is_one_root() {
    let mut wrong = Vec::new();
    for fault in faults::all() {
        let report = (fault.apply)(Fixture::healthy()).report();
        let found = roots(&report);
        // One fault may show on several objects: a missing API per kind, a closed way per port.
        let code = found.first().map_or("", |root| &root[..5]);
        let same = !found.is_empty() && found.iter().all(|root| root.starts_with(code));
        let right = same && (!fault.root || code == fault.code);
        if !right {
            wrong.push(format!("{} ({}): {found:#?}\n{}", fault.code, fault.name, outline(&report)));
        }
    }
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), faults::all().len(), wrong.join("\n"));
}

/// A fault at which the broker's only server is the reason that everything on the port fails.
fn only_server_down() -> Fixture {
    let mut fixture = Fixture::healthy();
    for (namespace, name) in
        [("team-commerce", "orders"), ("team-commerce", "inventory"), ("team-platform", "tickets")]
    {
        fixture =
            fixture.remove("MCPServerRegistration", namespace, name).remove("HTTPRoute", namespace, name);
    }
    let config = "servers:\n- name: team-weather/weather\n  url: http://weather.team-weather.svc.cluster.local:8080/mcp\n  \
                  hostname: weather.mcp.local\n  prefix: weather_\n  state: Enabled\n";
    let fixture = fixture
        .config("mcp-system", config)
        .remove("MCPVirtualServer", "mcp-system", "shop-assistant")
        .refresh_answers()
        .pod_waits("team-weather", "weather", "ImagePullBackOff", "Back-off pulling image")
        .pod_not_ready("mcp-system", "mcp-gateway");
    let fixture =
        faults::broker_fails(fixture, "team-weather/weather", "dial tcp: connect: connection refused");
    let fixture = fixture.status(
        "MCPGatewayExtension",
        "mcp-system",
        "mcp-gateway",
        ["Ready", "False", "DeploymentNotReady", "broker-router deployment is not ready"],
    );
    fixture.status(
        "MCPServerRegistration",
        "team-weather",
        "weather",
        ["Ready", "False", "NotReady", "no valid mcpgatewayextensions configured"],
    )
}

#[test]
fn one_dead_server_explains_the_dead_port() {
    let report = only_server_down().report();
    let found = roots(&report);
    assert_eq!(found, ["MG101 Deployment team-weather/weather"], "{}", outline(&report));
    for code in ["MG312", "MG403", "MG417"] {
        assert!(report.findings.iter().any(|f| f.code == code), "{code} is missing\n{}", outline(&report));
    }
}

/// The combination of faults, if they can be combined: none removes or overwrites what another changes, so that
/// the order in which they happen makes no difference.
fn combined(combination: &[&Fault]) -> Option<Fixture> {
    let apply = |fixture: Fixture, fault: &&Fault| (fault.apply)(fixture);
    let forward = quietly(|| combination.iter().fold(Fixture::healthy(), apply))?;
    let backward = quietly(|| combination.iter().rev().fold(Fixture::healthy(), apply))?;
    // One change that is in the list under two codes is no combination.
    let alone: Vec<Fixture> = combination.iter().map(|fault| (fault.apply)(Fixture::healthy())).collect();
    let same = |at: usize| alone[..at].iter().any(|other| state(other) == state(&alone[at]));
    (!(1..alone.len()).any(same) && state(&forward) == state(&backward)).then_some(forward)
}

/// Objects, logs with their lines, other files, and how many kinds were refused.
type State<'f> = (Vec<String>, Vec<(String, Vec<&'f str>)>, Vec<&'f (String, Vec<u8>)>, usize);

/// What a fixture holds, whatever the order: objects, lines of logs, other files.
fn state(fixture: &Fixture) -> State<'_> {
    let installation = &fixture.installation;
    let mut objects: Vec<String> = installation.objects.iter().map(ToString::to_string).collect();
    objects.sort_unstable();
    let mut logs: Vec<(String, Vec<&str>)> = installation
        .logs
        .iter()
        .map(|log| {
            let mut lines: Vec<&str> = log.text.lines().collect();
            lines.sort_unstable();
            (format!("{}/{}/{}/{}", log.namespace, log.pod, log.container, log.previous), lines)
        })
        .collect();
    logs.sort_unstable();
    let mut extras: Vec<_> = installation.extras.iter().collect();
    extras.sort_unstable();
    (objects, logs, extras, fixture.refusals().kinds.len())
}

/// Faults that take away what others show: with both at once nobody could see the other, or it is not there any
/// more. `hidden` are codes of roots (none: all), `on` is a part of what they are about.
struct Exclusive {
    why: &'static str,
    by: &'static [(&'static str, &'static str)],
    hidden: &'static [&'static str],
    on: &'static str,
}

const EXCLUSIVE: &[Exclusive] = &[
    Exclusive {
        why: "Without extensions and registrations nothing tells which Gateways, servers and policies are ours.",
        by: &[("MG003", "MCP gateway not installed")],
        hidden: &[],
        on: "",
    },
    Exclusive {
        why: "A proxy that never started answers no admin request and no client, and writes no log.",
        by: &[("MG208", "the proxy pod does not start")],
        hidden: &["MG223", "MG224", "MG226", "MG231", "MG712", "MG809", "MG814"],
        on: "",
    },
    Exclusive {
        why: "A proxy of a class that nobody knows is configured by nobody, so that nobody logs a refusal; and the name \
              of the Gateway's Service is made from the class.",
        by: &[("MG209", "the GatewayClass has a typo")],
        hidden: &["MG226", "MG313", "MG812"],
        on: "",
    },
    Exclusive {
        why: "Whether anybody accepts a class that no Gateway names is nobody's matter.",
        by: &[("MG209", "the GatewayClass has a typo")],
        hidden: &["MG209"],
        on: "GatewayClass istio",
    },
    Exclusive {
        why: "The controller has nothing to say about a registration that is gone.",
        by: &[("MG422", "an entry that nobody registered")],
        hidden: &["MG415"],
        on: "team-weather/weather",
    },
    Exclusive {
        why: "Without the Gateway there is no listener, no host and no proxy that a policy or an entry could miss, and \
              that could refuse anything.",
        by: &[("MG201", "the Gateway was deleted")],
        hidden: &["MG226", "MG313", "MG503", "MG702", "MG704", "MG709", "MG710", "MG711"],
        on: "",
    },
    Exclusive {
        why: "The route leads to another server, so that nothing refers to this one any more.",
        by: &[
            ("MG211", "a Service by its host"),
            ("MG216", "no grant for a Service elsewhere"),
            ("MG404", "the backend's grant is missing"),
        ],
        hidden: &["MG005", "MG101", "MG102", "MG104", "MG106", "MG407", "MG408", "MG410"],
        on: "team-weather/weather",
    },
    Exclusive {
        why: "Nobody asks whether this server may be reached, as no requests are sent to it.",
        by: &[
            ("MG211", "a Service by its host"),
            ("MG216", "no grant for a Service elsewhere"),
            ("MG404", "the backend's grant is missing"),
        ],
        hidden: &["MG232"],
        on: "team-weather/same-namespace",
    },
    Exclusive {
        why: "A backend without a share of the requests needs no grant.",
        by: &[("MG215", "the backend gets no share of the requests")],
        hidden: &["MG216", "MG404"],
        on: "team-weather/weather",
    },
    Exclusive {
        why: "A route of which its Gateway says nothing is not expected in Envoy.",
        by: &[("MG217", "no status for a parent")],
        hidden: &["MG228"],
        on: "team-weather/weather",
    },
    Exclusive {
        why: "Without pods nothing tells which of their ports the Service means.",
        by: &[("MG417", "the server's Service lost its pods")],
        hidden: &["MG408"],
        on: "team-weather/weather",
    },
    Exclusive {
        why: "A server that is switched off on purpose is not judged.",
        by: &[("MG418", "switched off")],
        hidden: &["MG102", "MG406", "MG407", "MG408", "MG409", "MG410", "MG420"],
        on: "team-weather/weather",
    },
    Exclusive {
        why: "Envoy has routes of accepted HTTPRoutes only.",
        by: &[
            ("MG212", "the section name has a typo"),
            ("MG212", "the parent's name has a typo"),
            ("MG212", "the parent's namespace is left out"),
            ("MG213", "a hostname outside the listener's domain"),
            ("MG214", "the namespace lacks the label"),
        ],
        hidden: &["MG228"],
        on: "team-weather/weather",
    },
    Exclusive {
        why: "A route that no Gateway has taken has no status that could be old.",
        by: &[("MG212", "the parent's name has a typo"), ("MG212", "the parent's namespace is left out")],
        hidden: &["MG217"],
        on: "team-weather/weather",
    },
    Exclusive {
        why: "The older extension targets nothing, so that the port is free; the younger one then only waits for its \
              broker (MG312).",
        by: &[
            ("MG301", "the target's namespace is empty"),
            ("MG301", "the target's name has a typo"),
            ("MG306", "the listener's name has a typo"),
        ],
        hidden: &["MG304", "MG312"],
        on: "team-platform/second",
    },
    Exclusive {
        why: "The other registration's prefix is another now, so that the two no longer conflict; only the status says so.",
        by: &[("MG412", "the prefix has a hyphen")],
        hidden: &["MG413", "MG403"],
        on: "team-commerce/inventory",
    },
    Exclusive {
        why: "A credential that the server refuses altogether is refused for calls too.",
        by: &[("MG605", "the server refuses the token")],
        hidden: &["MG606"],
        on: "team-commerce/orders",
    },
    Exclusive {
        why: "The expression that asked for the roles is not there any more.",
        by: &[
            ("MG807", "a header in capitals"),
            ("MG807", "a pattern that RE2 refuses"),
            ("MG807", "always the same"),
            ("MG807", "dotted header name"),
            ("MG807", "metadata that no rule fetches"),
            ("MG807", "what has gives is compared"),
            ("MG801", "authorization rules removed"),
            ("MG806", "words instead of operators"),
            ("MG808", "expression refused"),
        ],
        hidden: &["MG809"],
        on: "AuthPolicy",
    },
    Exclusive {
        why: "Its registration and route are gone: the Deployment and its Service are nobody's MCP server any more.",
        by: &[("MG422", "an entry that nobody registered")],
        hidden: &["MG101", "MG228", "MG408", "MG410", "MG411", "MG417"],
        on: "team-weather/weather",
    },
    Exclusive {
        why: "A policy that is not on the clients' listener does not write the listener's 401.",
        by: &[("MG711", "policy on the servers' listener")],
        hidden: &["MG702", "MG709", "MG710"],
        on: "AuthPolicy",
    },
    Exclusive {
        why: "Envoy without a listener on the port has no filter chain, no route and no client there.",
        by: &[("MG225", "no listener on the port")],
        hidden: &["MG223", "MG227", "MG224", "MG231", "MG703", "MG814"],
        on: "",
    },
    Exclusive {
        why: "A control plane that has not taken the class configures no proxy, so that none refuses anything.",
        by: &[("MG209", "nobody accepts the GatewayClass")],
        hidden: &["MG226"],
        on: "",
    },
    Exclusive {
        why: "The controller refuses an extension whose target is wrong before it comes to what fails later.",
        by: &[
            ("MG201", "the Gateway was deleted"),
            ("MG301", "the target's name has a typo"),
            ("MG301", "the target's namespace is empty"),
            ("MG302", "the target is a Service"),
            ("MG303", "the grant is gone"),
            ("MG303", "the grant is for another kind"),
            ("MG308", "the listener excludes the namespace"),
            ("MG309", "the session store's Secret is gone"),
            ("MG306", "the listener's name has a typo"),
            ("MG307", "the public host is a URL"),
            ("MG312", "the broker's image cannot be pulled"),
        ],
        hidden: &["MG220", "MG310", "MG316"],
        on: "mcp-system/mcp-gateway",
    },
    Exclusive {
        why: "The route names another port, so that the one of the wrong protocol is nobody's.",
        by: &[("MG215", "a wrong port of the Service")],
        hidden: &["MG408"],
        on: "team-weather/weather",
    },
    Exclusive {
        why: "Envoy and the probes answer anew once the shop has its route, so that the old answer is gone.",
        by: &[("MG230", "shop on the same port")],
        hidden: &["MG411"],
        on: "team-weather/weather",
    },
    Exclusive {
        why: "Envoy answers anew once the rule is gone, and an imitated Envoy takes filters of every revision.",
        by: &[("MG701", "no rule for the metadata")],
        hidden: &["MG223"],
        on: "mcp-system/mcp-gateway",
    },
    Exclusive {
        why: "A policy that targets nothing is not enforced for that reason.",
        by: &[("MG803", "listener renamed")],
        hidden: &["MG808"],
        on: "AuthPolicy",
    },
    Exclusive {
        why: "A record is compared with the address of the Gateway, which has none.",
        by: &[("MG204", "the load balancer gives no address")],
        hidden: &["MG218"],
        on: "DNSRecord",
    },
    Exclusive {
        why: "A container whose image has no valid name never runs, so that nothing is asked whether it is ready.",
        by: &[("MG101", "server image name invalid")],
        hidden: &["MG106"],
        on: "team-weather/weather",
    },
    Exclusive {
        why: "The private host is judged by the class of the target, and a Service has none.",
        by: &[("MG302", "the target is a Service")],
        hidden: &["MG313"],
        on: "mcp-system/mcp-gateway",
    },
    Exclusive {
        why: "A controller that crashes at its start logs nothing about registrations.",
        by: &[("MG108", "Istio missing when the controller starts")],
        hidden: &["MG415"],
        on: "",
    },
    Exclusive {
        why: "Which broker and which host a registration and a policy belong to is known from the extension's Gateway.",
        by: &[("MG302", "the target is a Service")],
        hidden: &["MG413", "MG707"],
        on: "",
    },
    Exclusive {
        why: "The ServiceEntry is not the server's any more, so that neither its ports nor its reach are asked for.",
        by: &[("MG502", "the ServiceEntry's host has a typo")],
        hidden: &["MG503", "MG507"],
        on: "team-platform",
    },
    Exclusive {
        why: "Without a ServiceEntry no host tells what a DestinationRule was meant for, and nothing tells its ports.",
        by: &[("MG501", "the ServiceEntry is gone")],
        hidden: &["MG504", "MG505", "MG507"],
        on: "team-platform",
    },
    Exclusive {
        why: "The broker answers anew once the route or the ServiceEntry is another, so that the old answer is gone.",
        by: &[("MG701", "no rule for the metadata"), ("MG502", "the ServiceEntry's host has a typo")],
        hidden: &["MG416", "MG417"],
        on: "",
    },
    Exclusive {
        why: "A configuration from before the filter has no counters of it.",
        by: &[("MG223", "filter newer than the proxy's configuration")],
        hidden: &["MG224"],
        on: "mcp-system/mcp-gateway",
    },
];

/// Whether one of these faults makes a root of another impossible to see.
fn is_exclusive(faults: &[&Fault], root: &str) -> bool {
    EXCLUSIVE.iter().any(|rule| {
        let by = faults.iter().any(|f| rule.by.contains(&(f.code, f.name)));
        let hidden = rule.hidden.is_empty() || rule.hidden.iter().any(|code| root.starts_with(code));
        by && hidden && root.contains(rule.on) && !rule.why.is_empty()
    })
}

/// How well the roots of several faults at once are told apart.
#[derive(Debug, Default)]
struct Score {
    combinations: usize,
    /// Roots that the faults have when each is alone.
    expected: usize,
    /// Of these, roots of the combination too.
    right: usize,
    /// Of these, findings that are there as a consequence of another of the faults, or said to be undecided: what
    /// can be seen is the same as if the one had caused the other.
    explained: usize,
    /// Roots that nobody could see in this combination ([`EXCLUSIVE`]); not among the expected ones.
    exclusive: usize,
    /// Roots that were found.
    found: usize,
    /// What is missing.
    missed: Vec<String>,
    /// Roots that no fault has alone.
    surplus: Vec<String>,
}

impl Score {
    fn join(mut self, other: Self) -> Self {
        self.combinations += other.combinations;
        self.expected += other.expected;
        self.right += other.right;
        self.explained += other.explained;
        self.exclusive += other.exclusive;
        self.found += other.found;
        self.missed.extend(other.missed);
        self.surplus.extend(other.surplus);
        self
    }

    /// Roots that are right of those that were found, in tenths of a percent.
    fn precision(&self) -> usize {
        (self.found - self.surplus.len()) * 1000 / self.found.max(1)
    }

    /// Faults that were found, as roots or explained by another, in tenths of a percent.
    fn recall(&self) -> usize {
        (self.right + self.explained) * 1000 / self.expected.max(1)
    }

    fn told(&self, what: &str) -> String {
        let tenths = |n: usize| format!("{}.{} %", n / 10, n % 10);
        format!(
            "{} {what}: {} roots that nobody could see; of {} others {} found as roots ({}), {} under another of the \
             faults; recall {}, precision {} ({} found)\nmissed: {:#?}\nsurplus: {:#?}",
            self.combinations,
            self.exclusive,
            self.expected,
            self.right,
            tenths(self.right * 1000 / self.expected.max(1)),
            self.explained,
            tenths(self.recall()),
            tenths(self.precision()),
            self.found,
            self.missed,
            self.surplus,
        )
    }
}

fn score(all: &[&'static Fault], alone: &[Vec<String>], members: &[usize]) -> Score {
    let faults: Vec<&Fault> = members.iter().map(|&at| all[at]).collect();
    let Some(fixture) = combined(&faults) else { return Score::default() };
    let report = fixture.report();
    let together = roots(&report);
    let wanted: BTreeSet<&String> = members.iter().flat_map(|&at| &alone[at]).collect();
    let names: Vec<String> = faults.iter().map(|f| format!("{} {}", f.code, f.name)).collect();
    let names = names.join(" + ");
    let mut score = Score { combinations: 1, found: together.len(), ..Score::default() };
    // What another fault removed or moved elsewhere is said of what is left.
    let gone: Vec<&String> = wanted.iter().copied().filter(|root| !exists(&fixture, root)).collect();
    let elsewhere = |root: &str| together.iter().any(|found| found[..5] == root[..5]);
    for root in &wanted {
        let consequence = report.findings.iter().any(|f| line(f) == **root && !f.caused_by.is_empty());
        let undecided =
            report.unknown.iter().any(|u| u.codes.iter().any(|code| root.starts_with(code.as_str())));
        score.expected += 1;
        if together.contains(root) || (gone.contains(root) && elsewhere(root)) {
            score.right += 1;
        } else if consequence || undecided {
            score.explained += 1;
        } else if is_exclusive(&faults, root) {
            score.expected -= 1;
            score.exclusive += 1;
        } else {
            score.missed.push(format!("{root} ({names})"));
        }
    }
    let surplus = together.iter().filter(|root| {
        let moved = gone.iter().any(|gone| gone[..5] == root[..5]);
        !wanted.contains(root) && !moved && !is_exclusive(&faults, root)
    });
    score.surplus = surplus.map(|root| format!("{root} ({names})")).collect();
    score
}

/// Whether the object of a root (`CODE Kind namespace/name`) is in the fixture.
fn exists(fixture: &Fixture, root: &str) -> bool {
    let (kind, id) = root[6..].split_once(' ').unwrap_or_default();
    let (namespace, name) = id.split_once('/').unwrap_or(("", id));
    fixture.installation.get(kind, namespace, name).is_some()
}

fn alone(all: &[&'static Fault]) -> Vec<Vec<String>> {
    all.par_iter().map(|fault| roots(&(fault.apply)(Fixture::healthy()).report())).collect()
}

/// Each fault's root must be found also beside another's, and no root that neither has alone.
#[test]
fn pairs_of_faults_keep_their_roots() {
    let all = faults::all();
    let alone = alone(&all);
    let pairs: BTreeSet<[usize; 2]> = [7usize, 29, 61, 103]
        .iter()
        .flat_map(|step| (0..all.len()).map(move |first| (first, *step)))
        .map(|(first, step)| [first, (first * 3 + step) % all.len()])
        .filter(|[first, second]| first != second)
        .collect();
    let pairs: Vec<_> = pairs.into_iter().collect();
    let total =
        pairs.par_iter().map(|members| score(&all, &alone, members)).reduce(Score::default, Score::join);
    println!("{}", total.told("pairs"));
    assert!(
        total.combinations > 300 && total.recall() >= PAIRS.0 && total.precision() >= PAIRS.1,
        "{total:#?}"
    );
}

/// The same for three faults at once.
#[test]
fn triples_of_faults_keep_their_roots() {
    let all = faults::all();
    let alone = alone(&all);
    // A fixed walk through the combinations.
    let mut seed = 20_260_914_u64;
    let mut next = |of: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((seed >> 33) % of as u64).expect("a small number")
    };
    let mut triples = BTreeSet::new();
    while triples.len() < 900 {
        let members: BTreeSet<usize> = (0..3).map(|_| next(all.len())).collect();
        if members.len() == 3 {
            triples.insert(members.into_iter().collect::<Vec<_>>());
        }
    }
    let triples: Vec<_> = triples.into_iter().collect();
    let total =
        triples.par_iter().map(|members| score(&all, &alone, members)).reduce(Score::default, Score::join);
    println!("{}", total.told("triples"));
    assert!(
        total.combinations >= 300 && total.recall() >= TRIPLES.0 && total.precision() >= TRIPLES.1,
        "{total:#?}"
    );
}

/// Just under what is reached: recall and precision in tenths of a percent.
const PAIRS: (usize, usize) = (998, 998);
const TRIPLES: (usize, usize) = (995, 995);
