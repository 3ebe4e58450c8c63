//! The table of what the text engine looks for: one row per pattern, all of them searched for in
//! one pass. A row that needs more than an expression says which code decides where the secret
//! begins and ends.

use super::placeholder::Kind;

/// What happens where an expression matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// The whole match is the secret.
    Whole(Kind),
    /// What follows the first occurrence of this byte in the match is the secret.
    After(u8, Kind),
    /// What follows the match up to the end of the word or of its quotes is the secret.
    Rest(Kind),
    /// What follows the match up to the end of the line is the secret.
    Line(Kind),
    /// A word that may be part of a name; `names` decides, `value` finds the value.
    Name,
    /// The beginning of a JSON web token.
    Jwt,
    /// The `://` of a URL: credentials before `@`, sensitive query values.
    Url,
    /// The `@` of an e-mail address.
    Email,
    /// The first line of a private key.
    Pem,
    /// The line that says how many lines of a private key of PuTTY follow.
    PuttyLines,
    /// `Bearer …`, `Basic …` without a header's name.
    Scheme,
    /// Base64 of something secret, at one of the three alignments: the whole run goes.
    Base64,
    /// A registry login, base64 of `user:password`.
    Login,
    /// The query of a request line in an access log.
    RequestQuery,
    /// A log message that is followed by a whole dump: what these keys hold goes.
    Dump(&'static [&'static str]),
    /// An audit line: `user` and `session` go.
    Audit,
    /// The body of an answer of an upstream: its first characters stay.
    UpstreamBody,
    /// A placeholder that is there already.
    Placeholder,
}

/// One row of the table.
#[derive(Debug)]
pub(super) struct Pattern {
    /// The name in the report.
    pub(super) id: &'static str,
    /// The expression (bytes, not Unicode).
    pub(super) expression: &'static str,
    /// What to do with a match.
    pub(super) action: Action,
    /// A text in which something must be redacted, in which the part in `«»` must not survive.
    #[cfg_attr(not(test), expect(dead_code, reason = "the table documents and tests itself"))]
    pub(super) must: &'static str,
    /// A text that must stay as it is.
    #[cfg_attr(not(test), expect(dead_code, reason = "the table documents and tests itself"))]
    pub(super) must_not: &'static str,
}

const fn row(
    id: &'static str,
    expression: &'static str,
    action: Action,
    must: &'static str,
    must_not: &'static str,
) -> Pattern {
    Pattern { id, expression, action, must, must_not }
}

use Action::{
    After, Audit, Base64, Dump, Email, Jwt, Line, Login, Name, Pem, Placeholder, PuttyLines, RequestQuery,
    Rest, Scheme, UpstreamBody, Url, Whole,
};

/// All patterns. Where two match at the same place, the first wins.
pub(super) static PATTERNS: &[Pattern] = &[
    row(
        "placeholder",
        r"<redacted:|redacted\.[a-z-]+\.len-",
        Placeholder,
        "",
        "<redacted:token len=5 h=00000000>",
    ),
    row(
        "private-key",
        r"-----BEGIN(?: |\+|%20)(?:[A-Z0-9]{1,16}(?: |\+|%20)){0,3}PRIVATE(?: |\+|%20)KEY(?:(?: |\+|%20)BLOCK)?-----",
        Pem,
        "-----BEGIN EC PRIVATE KEY-----\n«MHcCAQEEIBkZ0kZVhS9a8ZfZ»\n-----END EC PRIVATE KEY-----",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    ),
    row(
        "putty-key",
        r"Private-Lines: [0-9]{1,3}(?:\\{0,31}r)?(?:\r?\n|\\{1,31}n)",
        PuttyLines,
        "Private-Lines: 2\n«AAAAgQCqLVHk1vLnyO2Y5Q5iLHQ0\nBkZ0kZVhS9a8Z»\nPrivate-MAC: 0a1b",
        "Private-Lines: none",
    ),
    row(
        "github-token",
        r"(?:gh[pousr]_[A-Za-z0-9]{16,255}|github_pat_[A-Za-z0-9_]{20,255})",
        Whole(Kind::Token),
        "using «ghp_16C7e42F292c6912E7710c838347Ae178B4a»",
        "ghp_short and github_pattern_name",
    ),
    row(
        "gitlab-token",
        r"\bgl(?:pat|dt|rt|cbt|ptt|ft|soat|agent)-[A-Za-z0-9_-]{16,255}",
        Whole(Kind::Token),
        "«glpat-XyZ12345abcde67890qr»",
        "glpat-x",
    ),
    row(
        "slack-token",
        r"\bxox[a-z]-[A-Za-z0-9-]{10,255}|\bxapp-[0-9]-[A-Za-z0-9-]{10,255}|https://hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_+-]{8,255}",
        Whole(Kind::Token),
        "«xoxb-123456789012-abcdefGHIJKL»",
        "xoxo-hugs",
    ),
    row(
        "aws-key-id",
        r"\b(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}",
        Whole(Kind::Key),
        "«AKIAIOSFODNN7EXAMPLE»",
        "AKIAsomething",
    ),
    row(
        "google-key",
        r"\bAIza[0-9A-Za-z_-]{35}|\bya29\.[0-9A-Za-z_-]{20,2048}|\bGOCSPX-[0-9A-Za-z_-]{20,64}|\b1//0[0-9A-Za-z_-]{30,255}",
        Whole(Kind::Key),
        "«AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY»",
        "AIza short",
    ),
    row(
        "openshift-token",
        r"\bsha256~[A-Za-z0-9_-]{43}",
        Whole(Kind::Token),
        "«sha256~AbCdEfGhIjKlMnOpQrStUvWxYz0123456789_-abcde»",
        "sha256:0123456789abcdef",
    ),
    row(
        "ai-key",
        r"\bsk-[A-Za-z0-9_-]{20,255}|\bhf_[A-Za-z0-9]{20,64}|\bgsk_[A-Za-z0-9]{20,128}|\br8_[A-Za-z0-9]{20,64}|\bpplx-[A-Za-z0-9]{20,128}|\bxai-[A-Za-z0-9]{20,128}|\bnvapi-[A-Za-z0-9_-]{20,128}|\btvly-[A-Za-z0-9-]{20,64}",
        Whole(Kind::Key),
        "key «sk-ant-api03-AbCdEf0123456789AbCdEf0123456789-xyz»",
        "task-0123456789abcdefghijk and risk-adjusted",
    ),
    row(
        "provider-key",
        r"\bnpm_[A-Za-z0-9]{30,64}|\bpypi-[A-Za-z0-9_-]{40,255}|\bdckr_(?:pat|oat)_[A-Za-z0-9_-]{20,64}|\bSG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,64}|\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,128}|\bwhsec_[A-Za-z0-9+/]{16,128}|\bhv[sbr]\.[A-Za-z0-9_-]{20,255}|\bdapi[0-9a-f]{32}\b|\bshp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}\b|\bAGE-SECRET-KEY-1[0-9A-Z]{50,64}|\blin_api_[A-Za-z0-9]{30,64}|\bntn_[A-Za-z0-9]{30,64}|\bsecret_[A-Za-z0-9]{43}\b|\bATATT3[A-Za-z0-9_=-]{50,255}|\bdop_v1_[0-9a-f]{64}|\bEAA[A-Za-z0-9]{60,255}|\bfigd_[A-Za-z0-9_-]{30,64}|\bsq0(?:csp|atp)-[A-Za-z0-9_-]{20,64}|https://(?:ptb\.|canary\.)?discord(?:app)?\.com/api/webhooks/[0-9]{8,24}/[A-Za-z0-9_-]{20,128}|https://[a-z0-9-]{1,63}\.webhook\.office\.com/[A-Za-z0-9/@_-]{16,255}",
        Whole(Kind::Key),
        "«npm_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789»",
        "npm_config_registry",
    ),
    row(
        "azure-key",
        r"(?i)AccountKey=[A-Za-z0-9+/]{40,128}={0,2}|SharedAccessKey=[A-Za-z0-9+/]{20,128}={0,2}|SharedAccessSignature=[^\s\x22']{20,512}",
        After(b'=', Kind::Key),
        "AccountName=x;AccountKey=«AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKlMnOp==»;",
        "AccountKey=",
    ),
    row(
        "jwt",
        r"eyJ[A-Za-z0-9_-]{6}|eyAi[A-Za-z0-9_-]{6}|ewo[A-Za-z0-9_-]{7}",
        Jwt,
        "got eyJhbGciOiJIUzI1NiJ9.«eyJzdWIiOiJodW50ZXIyIn0.c2lnbmF0dXJl»",
        "eyJhbGciOiJIUzI1NiJ9 is only a header",
    ),
    row(
        "base64-secret",
        r"QmVhcmVyI|JlYXJlciB|CZWFyZXIg|ZXlKaGJHY2|V5SmhiR2Np|leUpoYkdja|ZXlKMGVYQW|V5SjBlWEFp|leUowZVhBa|UFJJVkFURSBLRV|BSSVZBVEUgS0VZ|QUklWQVRFIEtFW",
        Base64,
        "CgZ0b2tlbhIH«QmVhcmVyIGh1bnRlcjI»",
        "QmVhcmVy",
    ),
    row(
        "registry-login",
        r#"\bauth\\{0,31}"\s?:\s?\\{0,31}"[A-Za-z0-9+/]{8}"#,
        Login,
        "{\"auths\":{\"quay.io\":{\"auth\":\"«cm9ib3Q6aHVudGVyMmh1bnRlcjI=»\"}}}",
        "\"auth\":\"kubernetes\"",
    ),
    row(
        "url",
        r"://",
        Url,
        "redis://default:«hunter2!»@redis:6379/0",
        "https://sso.example.com/realms/mcp?x=y",
    ),
    row("email", r"@|%40", Email, "by «eve@example.com»", "quay.io/org/image@sha256:0123456789"),
    row(
        "audit",
        r"audit(?:=|\\?\x22:\s?)true",
        Audit,
        "msg=\"tool call\" audit=true user=«f81d4fae-7dec» tool=weather_now",
        "audit=false user=somebody",
    ),
    row(
        "dump",
        r"sending header processing instructions to envoy|sending mcp body routing instructions to envoy|sending response header processing instructions to envoy|sending [a-z ]{1,40} instructions to envoy",
        Dump(&["response"]),
        "msg=\"sending header processing instructions to envoy\" response=«Cg0KC3dlYXRoZXI»",
        "msg=\"sending metrics\" response=ok",
    ),
    row(
        "authorino-dump",
        r"evaluating for input|identity validated|fetched auth metadata|access granted|sending response\x22",
        Dump(&["input", "object", "metadata", "identity"]),
        "{\"level\":\"debug\",\"msg\":\"identity validated\",\"object\":«{\"sid9\":\"hunter2\"}»}",
        "{\"msg\":\"access denied\",\"object\":{\"Code\":7}}",
    ),
    row(
        "broker-dump",
        r"token page sub mismatch|parsed authorized capabilities",
        Dump(&["expected", "got", "capabilities", "sub"]),
        "msg=\"token page sub mismatch\" expected=«f81d4fae» got=«0e8400e2»",
        "msg=\"mismatch\" expected=2 got=3",
    ),
    row(
        "upstream-body",
        r"upstream returned HTTP [0-9]{3}: ",
        UpstreamBody,
        "upstream returned HTTP 500: 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123 «the rest of the body»",
        "upstream returned HTTP 401: Unauthorized",
    ),
    row(
        "query",
        r#"(?:GET|PUT|POST|HEAD|PATCH|DELETE|OPTIONS|CONNECT) /[^\s"?]{0,2048}\?|"(?:path|request_path|x_envoy_original_path|uri|url_path|:path)\\{0,31}":\s?\\{0,31}"/[^\s"?]{0,2048}\?"#,
        RequestQuery,
        "\"GET /mcp?«code=4711&state=0815» HTTP/1.1\" 200",
        "\"GET /mcp HTTP/1.1\" 200 - why?",
    ),
    row(
        "password-hash",
        r"\$(?:apr1|2[aby]|5|6|y|argon2id?)\$[A-Za-z0-9./,=+*$-]{20,255}",
        Whole(Kind::Password),
        "admin:«$apr1$x8aBq0$Zq7XkW9vLm3RtY8pBn4D01»",
        "cost $5$ and $6",
    ),
    row(
        "login-argument",
        r#"\bcurl [^\n|;]{0,200}?(?:-[a-zA-Z]{0,8}u|--user|--proxy-user)[ =][\x22']?[^\s:\x22']{1,64}:|\bsshpass -p ?[\x22']?|\b(?:mysql|mysqldump|mariadb) (?:[^\n|;]{0,100}? )?-p[\x22']?|\bredis-cli [^\n|;]{0,100}?-a [\x22']?|\bldap[a-z]{3,10} [^\n|;]{0,200}?-w [\x22']?|\b(?:oc|podman|docker|skopeo|buildah|oras|registry) login [^\n|;]{0,200}?-p [\x22']?|-pass(?:in|out)? pass:|\bopenssl [^\n|;]{0,200}?-[kK] [\x22']?|--from-literal[ =][\x22']?[^\s=\x22']{1,128}=[\x22']?|\bENV [A-Z0-9_]{0,40}(?:TOKEN|PASSWORD|SECRET|API_KEY) |\blogin \S{1,64}\s{1,16}password\s{1,4}|--certificate-key[ =]|:thin:[^\s/@\x22']{1,64}/"#,
        Rest(Kind::Password),
        "curl -s -u admin:«hunter2!» https://registry.example.com/",
        "docker run -u 1000:1000 x; oc logs -p x; curl -s https://x; mysql -p",
    ),
    row(
        "quoted-password",
        r#"(?i)\bpass(?:word|phrase|code) [\x22']"#,
        Rest(Kind::Password),
        "cannot log in with password '«hunter2»'",
        "the \"password\" is wrong",
    ),
    row(
        "element",
        r"(?i)<[a-z0-9_.-]{0,24}(?:password|passwd|secret|token|api-?key)>",
        Rest(Kind::Password),
        "<db-password>«hunter2»</db-password>",
        "<password/>",
    ),
    row(
        "parameter",
        r"(?i)[?&#](?:code|state|session_state|assertion|relaystate|samlresponse|samlrequest|x-amz-signature|x-amz-credential|x-goog-signature|sig|signature|auth|key|id_token_hint|nonce|login_hint)=|\b(?:code_verifier|client_assertion|session_state|samlresponse|relaystate)=",
        Rest(Kind::Query),
        "got /oauth2/callback?scope=openid&code=«hunter2»&x=y",
        "code=404, client_assertion_type=x, ?code=",
    ),
    row(
        "authorization-line",
        r#"(?i)\bauthorization\\{0,31}[\x22']?\s?[:=]\s?\\{0,31}[\x22']?(?:digest|hawk|oauth|signature|token|mac) [a-z_]{1,32}="#,
        Line(Kind::Authorization),
        "Authorization: Digest username=«\"bob\", realm=\"x\", response=\"6629fae49393a05397450978507c4ef1\"»",
        "authorization: none",
    ),
    row(
        "scheme",
        r"(?i)\b(?:bearer|basic|negotiate)(?: |\+|%20)[A-Za-z0-9]",
        Scheme,
        "got Bearer «hunter2hunter2hunter2»",
        "Bearer resource_metadata=https://mcp.example.com/.well-known/oauth-protected-resource",
    ),
    row(
        "name",
        r"(?i)passw|passp|passc|pwd|_pass|secret|token|creden|creds|authoriz|cookie|api[_.-]?key|(?:access|account|router|signing|private|encryption|shared|master|session|storage|auth|ssh|hmac|webhook|client|subscription|functions)[_.-]?key|sess?ion[_-]?id|connection[_-]?string|_dsn|\bsid\b|verified-sub|forwarded-(?:user|email|preferred)|request-(?:user|email)|preferred_?username|\bsub\\{0,31}[\x22']?\s?[:=]|\bupn\b|\barguments\\{0,31}\x22|dockerc(?:fg|onfigjson)|_key\b|jwt|psk\b|otlp[_.-]headers|key-data",
        Name,
        "password=«hunter2»",
        "secretName: mcp-gateway-config",
    ),
];
