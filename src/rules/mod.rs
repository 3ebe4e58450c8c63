//! What is wrong: the rules, the catalogue of finding codes, and the runner.
//!
//! One rule is one `declare_rule!` whose doc comment is the `explain` page, one function next to
//! it, and its tests. A rule is pure: it takes a [`Context`] and adds to [`Findings`]; it says
//! [`Findings::cannot_tell`] when its evidence was not collected. [`causes`] then finds the roots.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod authentication;
pub mod causes;
mod credentials;
mod envoy_filter;
pub(crate) mod evidence;
mod extensions;
mod external;
mod gaps;
mod gateways;
mod installation;
mod policies;
mod proxy;
mod registrations;
mod remedy;
mod routes;

mod suggest;
mod timeline;
mod topology;
mod workloads;
use std::collections::{BTreeSet, HashMap};
use std::sync::{LazyLock, OnceLock};

use chrono::{DateTime, Utc};
use rayon::prelude::*;

use crate::model::envoy::{self, Proxy};
use crate::model::graph::Graph;
use crate::model::istio::envoy_filter::Filters;
use crate::model::kuadrant::{Policies, Policy};
use crate::model::mcp::{Chain, Extension};
use crate::model::probes::{self, Purpose, Recorded};
use crate::model::workloads::{Workloads, interest};
use crate::model::{Bundle, Missing, Object};
use crate::report::{Evidence, ObjectRef, Remedy, Report, Severity};
use crate::shell::Command;

/// A rule: its place in the catalogue, its page, and its function.
#[derive(Debug)]
pub struct Rule {
    /// The code, `MG213`. Never changes its meaning, never is used again.
    pub code: &'static str,
    /// The name, which states the fault: `route-hostname-mismatch`.
    pub name: &'static str,
    /// The severity that its findings have unless they say otherwise.
    pub severity: Severity,
    /// The section of the troubleshooting chapter.
    pub section: &'static str,
    /// The evidence it needs, for `rules`.
    pub needs: &'static [&'static str],
    /// The version of this program that introduced it.
    pub since: &'static str,
    /// The codes whose findings, on an object that this rule's object depends on, cause this one.
    pub caused_by: &'static [&'static str],
    /// The versions of the product in which the fault can occur, in words: from which on, until which.
    pub versions: &'static str,
    /// The `explain` page, from the doc comment; its first line is the title.
    pub page: &'static str,
    /// The check. Several codes may share one evaluation; each rule reports only its own code.
    pub check: fn(&Context<'_>, &mut Findings),
}

impl Rule {
    /// The first line of the page.
    #[must_use]
    pub fn title(&self) -> &'static str {
        self.page.trim_start().lines().next().unwrap_or_default()
    }
}

/// Declares a rule as a `static`; its doc comment becomes the `explain` page.
#[macro_export]
macro_rules! declare_rule {
    ($(#[doc = $doc:expr])+ $vis:vis static $id:ident = {
        code: $code:literal, name: $name:literal, severity: $severity:ident, section: $section:literal,
        needs: [$($need:literal),* $(,)?], since: $since:literal, caused_by: [$($cause:literal),* $(,)?],
        $(versions: $versions:literal,)? check: $check:path $(,)?
    }) => {
        $(#[doc = $doc])+
        $vis static $id: $crate::rules::Rule = $crate::rules::Rule {
            code: $code,
            name: $name,
            severity: $crate::report::Severity::$severity,
            section: $section,
            needs: &[$($need),*],
            since: $since,
            caused_by: &[$($cause),*],
            versions: $crate::declare_rule!(@versions $($versions)?),
            page: concat!($($doc, "\n"),+),
            check: $check,
        };
    };
    (@versions) => { "every supported version" };
    (@versions $versions:literal) => { $versions };
}

/// The rules of each subject. A rule that is not listed in its subject does not exist.
static SUBJECTS: &[&[&Rule]] = &[
    installation::RULES,
    workloads::RULES,
    gateways::RULES,
    routes::RULES,
    envoy_filter::RULES,
    proxy::RULES,
    extensions::RULES,
    registrations::RULES,
    external::RULES,
    credentials::RULES,
    authentication::RULES,
    policies::RULES,
];

/// Every rule, sorted by code.
pub fn all() -> &'static [&'static Rule] {
    static ALL: LazyLock<Vec<&'static Rule>> = LazyLock::new(|| {
        let mut rules: Vec<&'static Rule> = SUBJECTS.iter().copied().flatten().copied().collect();
        rules.sort_by_key(|rule| rule.code);
        rules
    });
    &ALL
}

/// The rule of a code (`MG213`, any case) or of a name (`route-hostname-mismatch`).
#[must_use]
pub fn find(code_or_name: &str) -> Option<&'static Rule> {
    all().iter().copied().find(|r| r.code.eq_ignore_ascii_case(code_or_name) || r.name == code_or_name)
}

/// Objects by kind and name.
type Names<'a> = HashMap<&'a str, HashMap<&'a str, Vec<&'a Object>>>;

/// What a rule sees.
pub struct Context<'a> {
    /// The evidence.
    pub bundle: &'a Bundle,
    /// The time of the collection: ages and expiries refer to it. `None` when the bundle does not
    /// tell; then nothing that depends on time is decided.
    pub now: Option<DateTime<Utc>>,
    workloads: OnceLock<Workloads<'a>>,
    graph: OnceLock<Graph>,
    chain: OnceLock<Chain<'a>>,
    names: OnceLock<Names<'a>>,
    proxies: OnceLock<Vec<GatewayProxies<'a>>>,
    workload_gaps: OnceLock<Vec<Missing>>,
    subjects: OnceLock<Vec<workloads::Subject<'a>>>,
    mesh: OnceLock<external::Mesh<'a>>,
    probes: OnceLock<Vec<Recorded<'a>>>,
    probes_by_name: OnceLock<HashMap<String, Vec<usize>>>,
    served: OnceLock<registrations::AllServed<'a>>,
    configurations: OnceLock<HashMap<&'a str, registrations::Configured<'a>>>,
    policies: OnceLock<Vec<Policy<'a>>>,
    auth_policies: OnceLock<Policies<'a>>,
    expressions: OnceLock<Vec<policies::Wrong<'a>>>,
    entrances: OnceLock<policies::Entrances<'a>>,
    filters: OnceLock<Filters<'a>>,
}

/// The running Envoys of a Gateway.
pub struct GatewayProxies<'a> {
    /// The Gateway.
    pub gateway: &'a Object,
    /// What was collected from each of its running pods.
    pub proxies: Vec<Proxy<'a>>,
}

impl<'a> Context<'a> {
    /// A context over a bundle, at the time of its collection.
    #[must_use]
    pub fn new(bundle: &'a Bundle) -> Self {
        Self {
            bundle,
            now: bundle.meta.collected_at,
            workloads: OnceLock::new(),
            graph: OnceLock::new(),
            chain: OnceLock::new(),
            names: OnceLock::new(),
            proxies: OnceLock::new(),
            workload_gaps: OnceLock::new(),
            subjects: OnceLock::new(),
            mesh: OnceLock::new(),
            probes: OnceLock::new(),
            probes_by_name: OnceLock::new(),
            served: OnceLock::new(),
            configurations: OnceLock::new(),
            policies: OnceLock::new(),
            auth_policies: OnceLock::new(),
            expressions: OnceLock::new(),
            entrances: OnceLock::new(),
            filters: OnceLock::new(),
        }
    }

    /// What was asked of the running installation, and what came back.
    pub fn probes(&self) -> &[Recorded<'a>] {
        self.probes.get_or_init(|| probes::probes(self.bundle))
    }

    /// The probe of this purpose that is about an object.
    pub fn probe(&self, purpose: Purpose, object: &Object) -> Option<&Recorded<'a>> {
        let probes = self.probes();
        let by_name = self.probes_by_name.get_or_init(|| {
            let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
            for (at, recorded) in probes.iter().enumerate() {
                by_name.entry(recorded.probe.subject.name.clone()).or_default().push(at);
            }
            by_name
        });
        let mut named = by_name.get(object.name())?.iter().map(|&at| &probes[at]);
        named.find(|r| r.probe.purpose == purpose && r.probe.is_about(object))
    }

    /// The index of pods, owners, endpoints, events and logs; built once, on first use.
    pub fn workloads(&self) -> &Workloads<'a> {
        self.workloads.get_or_init(|| Workloads::new(self.bundle))
    }

    /// Registrations, routes, Gateways and extensions, judged as the controllers would.
    pub fn chain(&self) -> &Chain<'a> {
        self.chain.get_or_init(|| Chain::new(self.workloads()))
    }

    /// The objects of a kind (of any group) with this name, in all namespaces.
    pub fn named(&self, kind: &str, name: &str) -> &[&'a Object] {
        let names = self.names.get_or_init(|| {
            let mut names = Names::new();
            for object in self.bundle.objects() {
                let of_kind = names.entry(object.kind()).or_default();
                of_kind.entry(object.name()).or_default().push(object);
            }
            names
        });
        names.get(kind).and_then(|of_kind| of_kind.get(name)).map_or(&[], Vec::as_slice)
    }

    /// Whether an object is younger than this many seconds at the time of the collection, so that
    /// its controllers may not have come to it yet. A manifest, which no API server has ever stored, is
    /// younger than anything: what controllers would write into it cannot be missed.
    #[must_use]
    pub fn is_younger(&self, object: &Object, seconds: i64) -> bool {
        match (self.now, object.created()) {
            (Some(now), Some(created)) => (now - created).num_seconds() < seconds,
            _ => object.is_manifest(),
        }
    }

    /// The Gateways that extensions or registered routes use, by namespace and name, each with its running Envoys.
    pub fn proxies(&self) -> &[GatewayProxies<'a>] {
        self.proxies.get_or_init(|| {
            let workloads = self.workloads();
            interest::gateways(workloads)
                .into_iter()
                .map(|gateway| GatewayProxies {
                    gateway,
                    proxies: envoy::proxies(workloads, gateway)
                        .into_iter()
                        // One that was just started has not got its configuration yet.
                        .filter(|pod| !self.is_younger(pod, 60))
                        .map(|pod| Proxy::read(self.bundle, pod))
                        .collect(),
                })
                .collect()
        })
    }

    /// The running Envoys of a Gateway that extensions or registered routes use.
    fn proxies_of(&self, gateway: &Object) -> Option<&GatewayProxies<'a>> {
        let all = self.proxies();
        let wanted = (gateway.namespace(), gateway.name());
        let found =
            all.binary_search_by(|group| (group.gateway.namespace(), group.gateway.name()).cmp(&wanted));
        found.ok().map(|at| &all[at])
    }

    /// What the bundle lacks of the chains from registrations and extensions to their pods.
    fn workload_gaps(&self) -> &[Missing] {
        self.workload_gaps.get_or_init(|| workloads::gaps(self.workloads()))
    }

    /// The workloads that must run, each once.
    fn subjects(&self) -> &[workloads::Subject<'a>] {
        self.subjects.get_or_init(|| workloads::subjects(self))
    }

    /// The servers outside the cluster that registered routes lead to.
    fn externals(&self) -> &[external::External<'a>] {
        self.mesh().externals()
    }

    /// What the mesh says of hosts.
    fn mesh(&self) -> &external::Mesh<'a> {
        self.mesh.get_or_init(|| external::Mesh::new(self))
    }

    /// The Services behind enabled registrations.
    fn served(&self) -> &registrations::AllServed<'a> {
        self.served.get_or_init(|| registrations::served(self))
    }

    /// The configuration of the broker in a namespace.
    fn configured(&self, namespace: &str) -> Option<&registrations::Configured<'a>> {
        self.configurations.get_or_init(|| registrations::configurations(self)).get(namespace)
    }

    /// The policies that concern the MCP gateway.
    fn policies(&self) -> &[Policy<'a>] {
        self.policies.get_or_init(|| policies::ours(self))
    }

    /// The AuthPolicies among them, by their targets.
    fn auth_policies(&self) -> &Policies<'a> {
        self.auth_policies.get_or_init(|| {
            let all = self.policies().iter().copied();
            Policies::new(all.filter(|p| p.object.kind() == "AuthPolicy").collect())
        })
    }

    /// The expressions of policies that have problems.
    fn expressions(&self) -> &[policies::Wrong<'a>] {
        self.expressions.get_or_init(|| policies::problems(self))
    }

    /// Where requests for the public host of an extension arrive.
    fn entrances(&self, extension: &Extension<'a>) -> &[policies::Entrance<'a>] {
        self.entrances.get_or_init(|| policies::entrances(self)).of(extension.object)
    }

    /// The EnvoyFilters that the controller made for an extension, in whatever namespace they stand.
    fn filters_of(&self, extension: &Extension<'a>) -> impl Iterator<Item = &'a Object> {
        self.filters.get_or_init(|| Filters::new(self.bundle)).of(extension.object)
    }

    /// Which object depends on which.
    pub fn graph(&self) -> &Graph {
        self.graph.get_or_init(|| Graph::new(self.workloads()))
    }
}

/// A finding before it has an id and its causes.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The rule.
    pub rule: &'static Rule,
    /// The rule's severity, or another where the catalogue says so.
    pub severity: Severity,
    /// One line with the names in it.
    pub title: String,
    /// The subject first.
    pub objects: Vec<ObjectRef>,
    /// Never empty.
    pub evidence: Vec<Evidence>,
    /// What to do.
    pub remedy: Remedy,
    /// Direct causes that the rule knows: findings of one of these codes on this object.
    pub because_of: Vec<(Vec<&'static str>, ObjectRef)>,
    /// Findings whose effect hides this one: of one of these codes on this object.
    pub hidden_behind: Vec<(Vec<&'static str>, ObjectRef)>,
    /// Its cause is shown by its own evidence: no other finding nearby is taken for it.
    pub explains_itself: bool,
}

impl Draft {
    /// Overrides the rule's severity, where the catalogue allows both.
    pub fn severity(&mut self, severity: Severity) -> &mut Self {
        self.severity = severity;
        self
    }

    /// Adds an object that the finding is also about.
    pub fn object(&mut self, object: ObjectRef) -> &mut Self {
        if !self.objects.contains(&object) {
            self.objects.push(object);
        }
        self
    }

    /// Adds an observation.
    pub fn evidence(&mut self, evidence: Evidence) -> &mut Self {
        if !self.evidence.contains(&evidence) {
            self.evidence.push(evidence);
        }
        self
    }

    /// Adds a command that repairs it.
    pub fn command(&mut self, command: impl Into<Command>) -> &mut Self {
        self.remedy.commands.push(command.into().into_text());
        self
    }

    /// Adds commands, none if there are none.
    pub fn commands(&mut self, commands: impl IntoIterator<Item = Command>) -> &mut Self {
        self.remedy.commands.extend(commands.into_iter().map(Command::into_text));
        self
    }

    /// Adds a command that proves the repair.
    pub fn verify(&mut self, command: impl Into<Command>) -> &mut Self {
        self.remedy.verify.push(command.into().into_text());
        self
    }

    /// Names a direct cause: any finding of these codes on this object.
    pub fn because_of(&mut self, codes: &[&'static str], object: ObjectRef) -> &mut Self {
        self.because_of.push((codes.to_vec(), object));
        self
    }

    /// Says that its evidence shows the cause, so that no other finding nearby is taken for it.
    pub fn explains_itself(&mut self) -> &mut Self {
        self.explains_itself = true;
        self
    }

    /// Says that a finding of these codes on this object hides this one for now.
    pub fn hidden_behind(&mut self, codes: &[&'static str], object: ObjectRef) -> &mut Self {
        self.hidden_behind.push((codes.to_vec(), object));
        self
    }
}

/// What the rules have found so far.
#[derive(Debug, Default)]
pub struct Findings {
    drafts: Vec<Draft>,
    unknown: BTreeSet<(&'static str, &'static str, Missing)>,
}

impl Findings {
    /// Reports a fault of an object. The evidence is not optional.
    pub fn report(
        &mut self,
        rule: &'static Rule,
        subject: &Object,
        title: impl Into<String>,
        evidence: Evidence,
        remedy: impl Into<String>,
    ) -> &mut Draft {
        self.report_on(rule, subject.reference(), title, evidence, remedy)
    }

    /// Reports a fault of something that is named but not in the bundle.
    pub fn report_on(
        &mut self,
        rule: &'static Rule,
        subject: ObjectRef,
        title: impl Into<String>,
        evidence: Evidence,
        remedy: impl Into<String>,
    ) -> &mut Draft {
        self.drafts.push(Draft {
            rule,
            severity: rule.severity,
            title: title.into(),
            objects: vec![subject],
            evidence: vec![evidence],
            remedy: Remedy { text: remedy.into(), ..Remedy::default() },
            because_of: Vec::new(),
            hidden_behind: Vec::new(),
            explains_itself: false,
        });
        let last = self.drafts.len() - 1;
        &mut self.drafts[last]
    }

    /// Says that the rule cannot decide for want of this evidence (finding code MG001).
    pub fn cannot_tell(&mut self, rule: &'static Rule, missing: Missing) {
        self.unknown.insert((rule.name, rule.code, missing));
    }

    /// Whether the rule has said that it lacks evidence somewhere.
    fn is_undecided(&self, rule: &Rule) -> bool {
        let first = (rule.name, rule.code, Missing { what: String::new(), how: "".into() });
        self.unknown.range(first..).next().is_some_and(|(name, _, _)| *name == rule.name)
    }

    /// The drafts and the undecided questions.
    pub(crate) fn into_parts(self) -> (Vec<Draft>, BTreeSet<(&'static str, &'static str, Missing)>) {
        (self.drafts, self.unknown)
    }

    /// The drafts, in the order in which they were reported.
    #[must_use]
    pub fn drafts(&self) -> &[Draft] {
        &self.drafts
    }

    /// The undecided questions: rule name, code, what is missing.
    pub fn unknown(&self) -> impl Iterator<Item = &(&'static str, &'static str, Missing)> {
        self.unknown.iter()
    }
}

/// Runs every rule over a bundle and finds the roots.
#[must_use]
pub fn analyze(bundle: &Bundle) -> Report {
    watched(bundle, |_, check| check())
}

/// The same as [`analyze`]; each rule's check is handed to `run`, which has to call it, as to see how long it takes.
/// Whichever rule asks first for what several need does the work for all.
#[must_use]
pub fn watched(bundle: &Bundle, run: impl Fn(&'static Rule, &mut dyn FnMut()) + Sync) -> Report {
    let context = Context::new(bundle);
    // Rules know nothing of each other, so that they may run side by side; what they found is put
    // together in their order.
    let found = all().par_iter().map(|rule| {
        let mut findings = Findings::default();
        run(rule, &mut || (rule.check)(&context, &mut findings));
        findings
    });
    let found: Vec<Findings> = found.collect();
    let mut findings = Findings::default();
    let mut gaps = gaps::Gaps::default();
    for (rule, found) in all().iter().copied().zip(found) {
        findings.drafts.extend(found.drafts);
        findings.unknown.extend(found.unknown);
        if !findings.is_undecided(rule)
            && let Some(missing) = rule.needs.iter().find_map(|need| gaps.of(&context, need))
        {
            findings.cannot_tell(rule, missing);
        }
    }
    causes::report(&context, findings)
}
