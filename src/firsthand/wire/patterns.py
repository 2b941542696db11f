r"""What a secret looks like in a command line: the default redaction patterns, as data.

Expressions are RE2's (https://github.com/google/re2/wiki/Syntax), over bytes, case-insensitive, with ^ and $ at the row's
begin and end. They see a row as its arguments joined by NUL, with newlines inside arguments shown as carriage returns. What
a group named `secret...` holds is replaced; a match without such a group's participation is a near miss, consumed so that
nothing inside it counts. No expression can cross from one row to the next: the engine never matches the byte between them.

A hint is a cheaper expression which matches in every row where the pattern does; rows without any hint are not looked at
again. A value cut at the truncation edge ends with its row, so no expression asks for a closing mark: where one is needed to
tell (JWT, URL), the row's end stands for it. Token shapes ask for about ten characters: a shorter rest is no usable secret.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from firsthand.wire import bodies
from firsthand.wire.names import NAMES_HINT, NO_SECRET_NAME, NO_SECRET_VALUE, PATH_OR_SECRET, SECRET_NAME


@dataclass(frozen=True)
class Pattern:
    """One redaction pattern: `name` as written to the column `redaction`, `expression` in RE2's syntax."""

    name: str
    expression: str
    doc: str = ""
    hint: str = ""


NUL = r"\x00"
#: Where a shell word, or an argument, may begin.
BEGIN = r"(?:^|[\x00\s/;|&(\x60\"'=])"
#: Between words: two arguments, or blanks in a shell text.
SPACE = r"[\x00\s]+"
#: An argument that is a value rather than the next flag: no dash first, unless long and with a digit in it.
VALUE = r"(?:[^\x00\-][^\x00]*|-[^\x00\-]{3,}[0-9][^\x00]*)"
#: One word of shell text, a query or a connection string; quotes inside a word belong to it.
BARE = r"(?:[^\s\x00\"'\\;&\-]|\\[^\x00])(?:[^\s\x00\"'\\;&]|[\"'][a-z0-9]|\\[^\x00])*"
WORD = (
    r"(?:\"(?:[^\"\\\x00]|\\[^\x00])+|'[^'\x00]+|\{[^}\x00]+|"
    + BARE
    + r"|-(?:[^\s\x00\"'\\;&\-]){3,}[0-9][^\s\x00\"';&]*)"
)
#: What may stand before the secret word in a name: db.password, DB_PASSWORD, spring[0].password.
PREFIX = r"[a-z0-9_.:/\[\]\-]*"

#: A secret's name directly before its value; a cheap superset, since any two of them may be arguments of their own.
NAMED = (
    r"(?:"
    + NAMES_HINT
    + r")(?:s|words?|wd|d|phrase|code|wort|orization|[\-_]data|_id)?[0-9]?[\\\"']*\s*(?:[=:]|\x00[^\-]|\x00-[^\x00\-]{3}|\s[^\s])"
)

_FLAG = (
    r"(?:^|\x00)--?(?:[a-z0-9\-]*[\-_.])?" + NO_SECRET_NAME + r"[^\x00=]*"
    r"|(?:^|\x00)--?[a-z0-9_.\-]*?" + SECRET_NAME + r"(?:=|\x00|\s+|:)" + NO_SECRET_VALUE + r"(?:$|\x00)"
    r"|(?:^|\x00)--?secret(?:=|\x00)(?:id|type|source|src|target)=[^\x00]*"
    r"|(?:^|\x00)--?pwd(?:=|\x00)[/~.][^\x00]*"
    r"|(?:^|\x00)-?-[a-z0-9_.\-]*?"
    + SECRET_NAME
    + r"(?:=(?P<secret>[^\x00]+)|(?:\x00|\s+|:)(?P<secret_next>"
    + VALUE
    + r"))"
)
_SHELL_FLAG = (
    r"[\s\"'\x60(]--?(?:[a-z0-9\-]*[\-_.])?" + NO_SECRET_NAME + r"[^\x00\s=]*"
    r"|[\s\"'\x60(]--?[a-z0-9_.\-]*?" + SECRET_NAME + r"(?:=|\s+)" + NO_SECRET_VALUE + r"(?:$|[\x00\s\"'])"
    r"|[\s\"'\x60(]--?secret(?:=|\s+)(?:id|type|source|src|target)="
    r"|[\s\"'\x60(]--?pwd(?:=|\s+)[/~.]"
    r"|[\s\"'\x60(]--?[a-z0-9_.\-]*?" + SECRET_NAME + r"(?:=|\s+)(?P<secret>" + WORD + r")"
)
_ARGUMENT = (
    r"(?:^|\x00)(?:--?)?secret=(?:id|type|source|src|target)="
    r"|"
    r"\x00-[a-z]*c\x00" + PREFIX + SECRET_NAME + r"\s?[:+?]?="
    r"|\x00(?:-d|--data[a-z\-]*|-F|--form[a-z\-]*)\x00" + PREFIX + SECRET_NAME + r"="
    r"|(?:^|\x00)(?:[^\x00\s=?;&,]*[=\-])?(?:old_?)?pwd=[/~.$]"
    r"|(?:^|\x00)(?:[^\x00\s=?;&,]*=)?" + PREFIX + NO_SECRET_NAME + r"="
    r"|(?:^|\x00)(?:[^\x00\s=?;&,]*=)?" + PREFIX + SECRET_NAME + r"\s?[:+?]?=" + NO_SECRET_VALUE + r"(?:$|\x00)"
    r"|(?:^|\x00)(?:[^\x00\s=?;&,]*=)?" + PREFIX + SECRET_NAME + r"\s?[:+?]?={1,2}(?P<secret>[^\x00=][^\x00]*)"
)
_ASSIGNMENT = (
    r"\bsecret=(?:id|type|source|src|target)=|"
    r"\b" + NO_SECRET_NAME + r"\s*="
    r"|(?:^|[^a-z0-9_.\-])(?:old_?)?pwd=[/~.$]"
    r"|\"[a-z0-9_.\-]*" + SECRET_NAME + r"\s*[:+?]?=(?P<secret_double>(?:[^\"\\\x00]|\\[^\x00])+)"
    r"|'[a-z0-9_.\-]*" + SECRET_NAME + r"\s*[:+?]?=(?P<secret_single>[^'\x00]+)"
    r"|" + SECRET_NAME + r"\s*[:+?]?=\s*" + NO_SECRET_VALUE + r"(?:$|[\x00\s;&\"'])"
    r"|" + SECRET_NAME + r"\s*[:+?]?={1,2}>?\s*(?P<secret>" + WORD + r")"
)
_KEY_OR_PATH = (
    r"(?:^|[\x00\s/])[a-z0-9_][a-z0-9_\-]*\.key[\x00\s]|(?:" + PATH_OR_SECRET + r")(?:\s*=|\x00|\s*:?\s+)\s*[\"']?"
    r"(?:(?:[/~.\-]|file:|env:|[a-z0-9_\-./]+\.(?:pem|key|json|crt|p8|p12|pub|yaml)\b)"
    r"|(?P<secret>(?:[^\x00\s\"'/~.;&\-])[^\x00\s\"';&]{7,}))"
)
_COLON = (
    r"(?:^|[\x00\s\"'])(?:auth|token|secret)s?: [a-z]+ [a-z]+|\b" + NO_SECRET_NAME + r"[\"']?\s*:"
    r"|\"[a-z0-9_.\-]*"
    + SECRET_NAME
    + r"\"\s*:\s*(?:\"(?P<secret_json>(?:[^\"\\\x00]|\\[^\x00])+)|(?P<secret_number>[0-9]+))"
    r"|\\\"[a-z0-9_.\-]*"
    + SECRET_NAME
    + r"\\\"\s*:\s*(?:\\\"(?P<secret_escaped>[^\"\x00\\]+(?:\\[^\"\x00][^\"\x00\\]*)*)"
    r"|(?P<secret_escaped_number>[0-9]+))"
    r"|'[a-z0-9_.\-]*" + SECRET_NAME + r"'\s*:\s*(?:'(?P<secret_single>[^'\x00]+)|(?P<secret_single_number>[0-9]+))"
    r"|(?:x-[a-z\-]*|private-|api|access|job-|deploy-|circle-|application-)(?:key|token|secret|auth|password)\s*:\s*"
    r"(?P<secret_header>[^\x00\s\"']+)"
    r"|(?:password|passwd|passphrase):(?P<secret_tight>[^\x00\s\"':/,][^\x00\s\"']*)"
    r"|"
    + SECRET_NAME
    + r"\s*:\s+(?:\"(?P<secret_quoted>(?:[^\"\\\x00]|\\[^\x00])+)|'(?P<secret_quoted_single>[^'\x00]+)"
    r"|(?P<secret>[^\x00\s\"'{\[|>&](?:[^\x00\r\"'},]|,[^\x00\s])*))"
)
_AUTHORIZATION = (
    r"authorization\\?[\"']?\s*[:=]" + r"[\s\x00]*" + r"\\?[\"']?"
    r"(?:(?:bearer|basic|token|digest|apikey|api-key|ssws|negotiate|ntlm|oauth|key|aws4-hmac-sha256)[\s\x00]+)?"
    r"(?P<secret>[^\x00\s\"'\\][^\x00\r\"'\\]*)"
)
_URL = (
    r"(?:docker(?:-daemon|-archive)?|oci(?:-archive)?|library|shub|oras|containers-storage|ostree|tarball|gs|s3)://[^\x00\s:@]+:[^\x00\s:@]*(?:$|[\x00\s])|"
    r"//[^/\x00\s:@]+:[^/\x00\s:@]+@sha256:[0-9a-f]+|"
    r"//[^/\x00\s:@?#\"'<>]*:(?P<secret>[^\x00\s/\"'<>]+|[^\x00\s/\"'<>]*[^0-9\x00\s/\"'<>][^\x00\s/\"'<>]*/[^\x00\s\"'<>]*)@"
    r"|://[^/\x00\s:@?#\"'<>\[]+:(?P<secret_cut>[0-9]*[^0-9\x00\s/@\"'<>:?#,\]${][^\x00\s/@\"'<>]*)$"
    r"|://(?P<secret_user>[a-z0-9_\-]{20,})@"
)
_NAMED_PLACE = (
    r"[\x00\s](?:[a-z0-9\-]+\.)?(?:psk|wep_key0|wep-key0)[\x00\s]+(?P<secret_psk>[^\x00\s\-][^\x00]*)"
    r"|"
    + BEGIN
    + r"(?:set|put|config|store)"
    + SPACE
    + r"(?:--?[a-z\-]+"
    + SPACE
    + r")*"
    + PREFIX
    + SECRET_NAME
    + r"(?:\x00(?P<secret_set>"
    + VALUE
    + r")|\s+(?P<secret_set_text>[^\x00\s\-][^\x00\s\"';&]*))"
    r"|(?:^|[^a-z])pass:(?P<secret_openssl>[^\x00\s\"']+)"
)
_COOKIE = r"cookie2?\s*:[\s\x00]*(?P<secret>[^\x00\s\"'][^\x00\r\"']*)"


def _encoded(headers: tuple[str, ...]) -> str:
    """Base64 of each header, without the last characters, which depend on what follows."""
    shapes = (base64.b64encode(h.encode()).decode().rstrip("=")[: len(h) * 8 // 6] for h in headers)
    return r"(?:" + "|".join(shape.replace("+", r"\+") for shape in shapes) + r")"


_HEADERS = tuple(f"-----BEGIN {kind}PRIVATE" for kind in ("", "RSA ", "EC ", "DSA ", "OPENSSH ", "ENCRYPTED ", "PGP "))
_PEM = (
    r"-----BEGIN[\x00 ](?:[a-z0-9]+[\x00 ]){0,3}PRIVATE[\x00 ]KEY(?:[\x00 ]BLOCK)?-----"
    r"(?:(?P<secret>[^\x00]*?)-----END|(?P<secret_split>[a-z0-9+/=\s\x00\\:,_.()\-]*?)(?:-----END|$)|(?P<secret_cut>[^\x00]+))"
    r"|(?-i:" + _encoded(_HEADERS) + r")(?P<secret_encoded>[a-z0-9+/=_\-]+)"
    r"|(?-i:(?P<secret_line>MI[GIH][A-Za-z0-9+/]{0,6}(?:IBA[DA]?|CAQAw|AgEA)[A-Za-z0-9+/=]{40,}))"
    r"|AGE-SECRET-KEY-1(?P<secret_age>[a-z0-9]{10,})"
    r"|Private-Lines: [0-9]+(?P<secret_putty>[^\x00]+)"
)
_JWT = (
    r"(?-i:(?:(?P<secret>eyJ[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{2,}\.[A-Za-z0-9_\-.]*)"
    r"|(?:^|[^A-Za-z0-9+/_\-])(?P<secret_cut>eyJ[A-Za-z0-9_\-]{15,}(?:\.[A-Za-z0-9_\-]*)?)$))"
)
_AWS = (
    r"(?-i:(?:^|[^A-Za-z0-9])(?P<secret>(?:AKIA|ASIA|ABIA|ACCA|AROA|AIDA|AGPA|ANPA|ANVA)[A-Z0-9]{12,20}"
    r"(?:[:,\x00\s/]{1,3}[A-Za-z0-9/+]{40})?)(?:$|[^A-Za-z0-9]))"
    r"|(?-i:(?:^|[^A-Za-z0-9])(?P<secret_cut>(?:AKIA|ASIA)[A-Z0-9]{4,})$)"
)


def _shape(shapes: str) -> str:
    """Token shapes, case-sensitive, that do not begin in the middle of a word."""
    return r"(?-i:(?:^|[^A-Za-z0-9])(?P<secret>" + shapes + r"))"


_GITHUB = r"gh[pousr]_[A-Za-z0-9]{10,}|github_pat_[A-Za-z0-9_]{10,}"
_GITLAB = r"gl(?:pat|dt|ptt|rt|oas|cbt|ft|soat|agent|imt|ffct)-[A-Za-z0-9_\-]{10,}|GR1348941[A-Za-z0-9_\-]{10,}"
_SLACK = r"xox[abeoprs](?:\.xox[bp])?-[A-Za-z0-9\-]{10,}|xapp-[0-9]-[A-Za-z0-9\-]{10,}"
_GOOGLE = r"AIza[0-9A-Za-z_\-]{20,}|ya29\.[0-9A-Za-z_\-.]{10,}|GOCSPX-[0-9A-Za-z_\-]{10,}|1//0[0-9A-Za-z_\-]{20,}"
_PAYMENT = r"[srp]k_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{10,}|sq0(?:atp|csp)-[A-Za-z0-9_\-]{10,}"
_PACKAGES = (
    r"npm_[A-Za-z0-9]{20,}|pypi-AgE[A-Za-z0-9_\-]{10,}|rubygems_[0-9a-f]{10,}|cio[A-Za-z0-9]{32}|oy2[a-z0-9]{43}"
    r"|dckr_[po]at_[A-Za-z0-9_\-]{10,}|AKCp[A-Za-z0-9]{20,}"
)
_SERVICES = (
    r"SG\.[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{10,}|SK[0-9a-f]{32}|key-[0-9a-f]{32}|do[oprt]_v1_[0-9a-f]{10,}"
    r"|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{10,}|hv[sbr]\.[A-Za-z0-9_\-]{10,}|s\.[A-Za-z0-9]{24}|[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_\-]{10,}"
    r"|dapi[0-9a-f]{32}|sk-[A-Za-z0-9_\-]{20,}|hf_[A-Za-z0-9]{20,}|lin_api_[A-Za-z0-9]{10,}|ntn_[A-Za-z0-9]{20,}"
    r"|gl(?:sa|c)_[A-Za-z0-9_=]{10,}|NRAK-[A-Z0-9]{10,}|sntry[su]_[A-Za-z0-9_+/=]{10,}|AT[AC]TT3x[A-Za-z0-9_\-=]{10,}"
    r"|ATBB[A-Za-z0-9]{20,}|HRKU-[A-Za-z0-9_\-]{10,}|dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9_.]{10,}|FlyV1 fm2_[A-Za-z0-9+/=,_]+"
    r"|pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.\-]{10,}|pat[A-Za-z0-9]{14}\.[0-9a-f]{10,}|LTAI[A-Za-z0-9]{12,20}|AKID[A-Za-z0-9]{32}"
    r"|tskey-[a-z]+-[A-Za-z0-9\-]{10,}|sbp_[0-9a-f]{10,}|PMAK-[0-9a-f\-]{10,}|dt0c01\.[A-Z0-9]{10,}\.[A-Z0-9]{10,}"
    r"|bk(?:ua|at)_[A-Za-z0-9]{10,}|CCIPAT_[A-Za-z0-9_]{10,}|figd_[A-Za-z0-9_\-]{10,}|pul-[0-9a-f]{40}|xkeysib-[0-9a-f\-]{10,}"
    r"|(?:bot)?[0-9]{8,10}:AA[A-Za-z0-9_\-]{30,}|[A-Za-z0-9_\-]{24,28}\.[A-Za-z0-9_\-]{6}\.[A-Za-z0-9_\-]{27,}|[A-Za-z0-9_~.]{3}8Q~[A-Za-z0-9_~.\-]{30,}"
)
_WEBHOOK = (
    r"hooks\.slack\.com/(?:services|workflows)/(?P<secret_slack>[A-Za-z0-9/_]+)"
    r"|/api/webhooks/[0-9]+/(?P<secret_discord>[A-Za-z0-9_\-]+)|webhook\.office\.com/(?P<secret_teams>[^\x00\s\"']+)"
    r"|[?&;](?:x-amz-|x-goog-)?sig(?:nature)?=(?P<secret>[^\x00\s&\"';]+)"
)
_SERVICES_HINT = (
    r"(?-i:SG\.|SK[0-9a-f]{32}|key-[0-9a-f]|do[oprt]_v1_|shp(?:at|ca|pa|ss)_|hv[sbr]\.|s\.[A-Za-z0-9]{24}|\.atlasv1\.|dapi[0-9a-f]{8}|sk-[A-Za-z0-9_\-]{20}"
    r"|hf_[A-Za-z0-9]{20}|lin_api_|ntn_|glsa_|glc_|NRAK-|sntry[su]_|AT[AC]TT3x|ATBB|HRKU-|dp\.[a-z]+\.|FlyV1|pscale_|pat[A-Za-z0-9]{14}\.|LTAI|AKID"
    r"|tskey-|sbp_|PMAK-|dt0c01|bk(?:ua|at)_|CCIPAT_|figd_|pul-[0-9a-f]{10}|xkeysib-|:AA[A-Za-z0-9_\-]{30}|\.[A-Za-z0-9_\-]{6}\.[A-Za-z0-9_\-]{27}|8Q~)"
)

DEFAULTS: tuple[Pattern, ...] = (
    Pattern("flag", _FLAG, "--password x, --db-token=x, -storepass x: the whole value", NAMED),
    Pattern("shell-flag", _SHELL_FLAG, "the same inside a shell text: one word", NAMED),
    Pattern("argument", _ARGUMENT, "an argument that is an assignment: DB_PASSWORD=x, -Dpassword=x", NAMED),
    Pattern("assignment", _ASSIGNMENT, "password=x in a shell text, a query or a connection string: one word", NAMED),
    Pattern("field", _COLON, 'JSON, YAML and headers: "password": "x", password: x, X-Api-Key: x', NAMED),
    Pattern("key", _KEY_OR_PATH, "private keys and credentials given as they are, not as a path", r"key|credential"),
    Pattern("authorization", _AUTHORIZATION, "Authorization headers; the scheme stays", r"authorization"),
    Pattern(
        "bearer", r"\bbearer[\s\x00]+(?P<secret>[a-z0-9._~+/=][a-z0-9._~+/=\-]{15,})", "Bearer x anywhere", r"bearer"
    ),
    Pattern(
        "url",
        _URL,
        "scheme://user:secret@host, and long tokens in the user's place",
        r"//[^\x00\s]+@|://[^/\x00\s]+:[0-9]*[^0-9\x00\s/@\"'<>:?#,\]${][^\x00\s/@\"'<>]*$",
    ),
    Pattern(
        "place",
        _NAMED_PLACE,
        "a secret's name, then its value: config set password x, psk x, pass:x",
        r"psk[\x00\s]|wep.key|pass:"
        r"|(?:set|put|config|store)[\x00\s][^\n]*(?:pass|secret|token|key|pwd|auth|otp|psk|bearer|session|connection)",
    ),
    Pattern(
        "statement",
        bodies.STATEMENT,
        "SQL, scripts of clients and of expect: IDENTIFIED BY 'x', db.auth('u', 'x')",
        bodies.STATEMENT_HINT,
    ),
    Pattern(
        "nested",
        bodies.NESTED,
        "JSON and YAML whose value stands deeper: password: {value: x}, stringData",
        bodies.NESTED_HINT,
    ),
    Pattern("xml", bodies.XML, "<password>x</password>, password='x' in a tag, name and value", bodies.XML_HINT),
    Pattern("hash", bodies.HASHES, "hashes that stand for a password: NTLM, crypt, SCRAM, LDAP", bodies.HASHES_HINT),
    Pattern("cookie", _COOKIE, "Cookie and Set-Cookie headers", r"cookie2?\s*:"),
    Pattern(
        "private-key",
        _PEM,
        "PEM blocks, also on one line, split, cut or base64 again; bare DER; age; PuTTY",
        r"-----BEGIN|LS0tLS1CRUdJTi|(?-i:MI[GIH][A-Za-z0-9+/]{0,6}(?:IBA|CAQAw|AgEA))|AGE-SECRET|Private-Lines",
    ),
    Pattern("jwt", _JWT, "JSON web tokens, whole or cut", r"(?-i:eyJ[A-Za-z0-9_\-]{10})"),
    Pattern(
        "aws-key",
        _AWS,
        "AWS access key ids, with the secret key behind",
        r"(?-i:A(?:KIA|SIA|BIA|CCA|ROA|IDA|GPA|NPA|NVA)[A-Z0-9]{4})",
    ),
    Pattern("github-token", _shape(_GITHUB), "GitHub tokens", r"(?-i:gh[pousr]_|github_pat_)"),
    Pattern("gitlab-token", _shape(_GITLAB), "GitLab tokens", r"(?-i:gl[a-z]{2,5}-[A-Za-z0-9_\-]{10}|GR1348941)"),
    Pattern("slack-token", _shape(_SLACK), "Slack tokens", r"(?-i:xox[abeoprs]|xapp-)"),
    Pattern(
        "google-key", _shape(_GOOGLE), "Google API keys, access and refresh tokens", r"(?-i:AIza|ya29\.|GOCSPX-|1//0)"
    ),
    Pattern("payment-key", _shape(_PAYMENT), "Stripe and Square keys", r"(?-i:k_(?:live|test)_|whsec_|sq0)"),
    Pattern(
        "registry-token",
        _shape(_PACKAGES),
        "npm, PyPI, RubyGems, crates, NuGet, Docker Hub, Artifactory",
        r"(?-i:npm_[A-Za-z0-9]{20}|pypi-AgE|rubygems_|cio[A-Za-z0-9]{32}|oy2[a-z0-9]{43}|dckr_|AKCp)",
    ),
    Pattern("service-token", _shape(_SERVICES), "token shapes of other services", _SERVICES_HINT),
    Pattern(
        "webhook",
        _WEBHOOK,
        "secret parts of webhook and signed URLs",
        r"hooks\.slack|/webhooks/|webhook\.office|[?&;][a-z\-]*sig",
    ),
)
