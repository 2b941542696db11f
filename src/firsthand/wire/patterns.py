r"""What a secret looks like in arguments: the default rules, as RE2 expressions over one row.

A row is its arguments joined with NUL bytes. Every rule names literal keywords (lower case), one of which stands in
whatever it matches: a row without any keyword of any rule is never looked at twice. The group `secret` is what is
replaced. Expressions are case-insensitive, Latin-1; `^` and `$` are the ends of the row.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pattern:
    """A user's pattern: without a group named `secret`, all that it matches is the secret."""

    name: str
    expression: str


@dataclass(frozen=True)
class Rule:
    """A default pattern with its keywords.

    `unless`: a match whose text this expression finds is no secret. `program`: rows of other programs are left out.
    `again`: a secret that begins with a dash may itself be an option with a value; look from it on again.
    """

    name: str
    expression: str
    keywords: tuple[str, ...]
    unless: str = ""
    program: str = ""
    again: bool = False


_WORDS = (
    r"(?:[\w.-]*(?:password|passwd|passphrase|passcode|secret|secrets|token|api[-_.]?key|access[-_.]?key|"
    r"secret[-_.]?key|auth[-_.]?key|account[-_.]?key|encryption[-_.]?key|signing[-_.]?key|master[-_.]?key|"
    r"client[-_.]?key[-_.]?data|requirepass|masterauth|credentials?)|(?:[\w.-]*[-_.])?(?:pass|psk))"
)
_NAMES = r"(?:" + _WORDS + r"|[\w.-]*private[-_.]?key|(?-i:pwd|Pwd|[\w.-]+_PWD|[\w.-]*[-_.a-z](?:pwd|Pwd)))"
_OPTIONS = r"--?(?:" + _WORDS + r"|(?:[\w.-]*[-_.])?pwd)"
_VALUE = r"""(?P<secret>\\?"[^"\x00]*"?|'[^'\x00]*'?|[^\x00\s"';&|<>)]+)"""
_OPEN = r"""(?:^|[\x00\s"'`;&|?({,])"""
_NOT_OPTION = r"(?:[^\x00-][^\x00]*|-(?:[^\x00-][^\x00]*)?|--[^\x00a-z][^\x00]*)"
_KEYWORDS = ("pass", "pwd", "token", "secret", "psk", "key", "credential", "masterauth")
_REFUSING = r"^[^-]?--?(?:no|without|skip|disable)-?|[=\x00\s]id="
_WRAPPERS = r"(?:sudo|doas|env|nice|ionice|nohup|timeout|time|setsid|stdbuf|busybox|strace|xargs)"


def _program(names: str) -> str:
    """argv[0] is one of `names`, or a wrapper such as sudo has it among its arguments."""
    name = r"(?:[^\x00]*/)?"
    return rf"^(?:{name}{_WRAPPERS}\x00(?:[^\x00]*\x00)*?)?{name}(?:{names})(?:\x00|$)"


_MYSQL = r"mysql|mysqldump|mysqladmin|mysqlimport|mysqlshow|mysqlcheck|mysqlsh|mariadb|mariadb-dump|mariadb-admin"

OPTIONS = (
    Rule("option", rf"(?:^|\x00){_OPTIONS}=(?P<secret>[^\x00]+)", _KEYWORDS, _REFUSING),
    Rule("option", rf"(?:^|\x00){_OPTIONS}\x00(?P<secret>{_NOT_OPTION})", _KEYWORDS, _REFUSING, again=True),
    Rule("option", rf"""[\x00\s"'`;&|(]{_OPTIONS}(?:=|\s+){_VALUE}""", _KEYWORDS, _REFUSING, again=True),
    Rule("option", rf"^{_OPTIONS}\s+{_VALUE}", _KEYWORDS, _REFUSING),
    # sh -c 'A_TOKEN=x command' is a line of shell: there the value ends at the space.
    Rule("assignment", rf"(?:^|\x00)(?:-[a-z]*c\x00)?{_NAMES}=(?P<secret>[^\x00]+)", _KEYWORDS, r"^\x00?-[a-z]*c\x00"),
    Rule("assignment", rf"{_OPEN}{_NAMES}\+?={_VALUE}", _KEYWORDS),
    Rule(
        "json", rf"""\\?["']{_NAMES}\\?["']\s*(?::|=>)\s*\\?["'](?P<secret>(?:[^"'\\\x00]|\\[^"'\x00])+)""", _KEYWORDS
    ),
    Rule("json", rf"""\\?"{_NAMES}\\?"\s*:\s*\\?"(?P<secret>(?:[^"\\\x00]|\\[^\x00])+)""", _KEYWORDS),
    Rule("json", rf"""\\?["']{_NAMES}\\?["']\s*:\s*(?P<secret>[0-9.]+)""", _KEYWORDS),
    Rule(
        "yaml",
        rf"""(?:^|[\x00\s{{,\[]|\\n){_NAMES}:\s+(?P<secret>"[^"\x00]*"?|'[^'\x00]*'?|[^\x00\r\n"']+)""",
        _KEYWORDS,
    ),
    Rule("openssl", r"(?:^|[\x00\s=])pass:(?P<secret>[^\x00\s]+)", ("pass:",)),
)

PROGRAMS = (
    Rule(
        "curl",
        r"\x00(?-i:-[a-zA-Z#]*[uU]|--user|--proxy-user)[\x00=]?[^\x00:]*:(?P<secret>[^\x00]+)",
        ("curl",),
        program=_program("curl"),
    ),
    Rule("curl", r"\x00(?-i:-b|--cookie)[\x00=]?(?P<secret>[^\x00=]+=[^\x00]+)", ("curl",), program=_program("curl")),
    Rule(
        "curl",
        r"""\bcurl\s(?:[^\x00|;&\n]*?\s)?(?-i:-[a-zA-Z#]*[uU]\s*|--user[\s=]|--proxy-user[\s=])"""
        r"""["']?[^\s:\x00"']*:(?P<secret>[^\s\x00"']+)""",
        ("curl",),
    ),
    Rule("sshpass", r"sshpass\x00(?:-[^p\x00][^\x00]*\x00)*(?-i:-p)\x00?(?P<secret>[^\x00]+)", ("sshpass",)),
    Rule("sshpass", rf"\bsshpass\s+(?:-[ve]\s+)*(?-i:-p)\s*{_VALUE}", ("sshpass",)),
    Rule("mysql", r"\x00(?-i:-p)(?P<secret>[^\x00]+)", ("mysql", "mariadb"), program=_program(_MYSQL)),
    Rule("mysql", rf"\b(?:{_MYSQL})\s(?:[^\x00|;&\n]*?\s)?(?-i:-p){_VALUE}", ("mysql", "mariadb")),
    Rule("redis", r"\x00(?-i:-a)\x00(?P<secret>[^\x00]+)", ("redis-cli",), program=_program("redis-cli")),
    Rule("login", r"\x00login\x00(?:[^\x00]*\x00)*?(?-i:-p)[\x00=]?(?P<secret>[^\x00]+)", ("login",)),
)

HEADERS = (
    Rule(
        "authorization",
        r"""\bauthorization\\?["']?\s*[:=]\s*\\?["']?(?:(?:bearer|basic|token|digest|negotiate|apikey)\s+)?"""
        r"""(?P<secret>[^\x00\r\n"'\\]+)""",
        ("authorization",),
    ),
    Rule("bearer", r"\bbearer\s+(?P<secret>[\w.~+/=-]{16,})", ("bearer",)),
    Rule(
        "header",
        r"""(?:^|[\x00\s"'])[a-z-]*(?:api-?key|access-key|token|secret|auth|auth-key|password)\\?["']?"""
        r""":\s*\\?["']?(?P<secret>[^\x00\r\n"'\\]+)""",
        ("key", "token", "secret", "auth", "password"),
        unless=r"^[^a-z]?[a-z-]*:/",
    ),
    Rule("cookie", r"""\bcookie2?\\?["']?\s*:\s*\\?["']?(?P<secret>[^\x00\r\n"'\\]+)""", ("cookie",)),
)

PLACES = (
    Rule(
        "url",
        r"""://[^\s\x00/?#@:"'<>]*:(?P<secret>[^\s\x00/?#"<>]+|[^\s\x00/@"<>]*[^\s\x00/@"<>0-9][^\s\x00@"<>]*)"""
        r"""@(?:sha(?:256|512):)?""",
        ("://",),
        unless=r"@sha(?:256|512):$",
    ),
    Rule(
        "connection",
        r"""(?:accountkey|sharedaccesskey|sharedaccesssignature)\s*=\s*(?P<secret>[^;\x00"'\s]+)""",
        ("accountkey", "sharedaccess"),
    ),
    Rule("connection", r""";\s*(?:password|pwd)\s*=\s*(?P<secret>[^;\x00"']+)""", ("password", "pwd")),
)

SHAPES = (
    Rule("aws-id", r"\b(?P<secret>(?-i:AKIA|ASIA)(?-i:[A-Z0-9]{16}))\b", ("akia", "asia")),
    Rule(
        "aws-secret",
        r"""(?:secret_?access_?key|session_?token|aws_?secret)\\?["']?[\s=:,\x00"'\\]{1,6}(?P<secret>[\w/+=-]{20,})""",
        ("secret", "session"),
    ),
    Rule("jwt", r"(?P<secret>(?-i:eyJ)[\w-]{6,}\.[\w-]*(?:\.[\w-]*)*)", ("eyj",)),
    Rule(
        "private-key",
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?P<secret>[^\x00]*?)"
        r"(?:-----END [A-Z0-9 ]*PRIVATE KEY|\x00|$)",
        ("-----begin",),
    ),
    Rule(
        "github",
        r"\b(?P<secret>(?-i:gh[pousr]_)\w{16,}|github_pat_\w{20,})",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
    ),
    Rule(
        "gitlab",
        r"\b(?P<secret>gl(?:pat|dt|rt|ptt|cbt|oas|soat|ft|agent)-[\w.-]{16,})",
        ("glpat-", "gldt-", "glrt-", "glptt-", "glcbt-", "gloas-", "glsoat-", "glft-", "glagent-"),
    ),
    Rule("slack", r"\b(?P<secret>xox[a-z](?:\.xox[a-z])?-[\w-]{10,}|xapp-[\w-]{10,})", ("xox", "xapp-")),
    Rule("slack", r"hooks\.slack\.com/(?:services|workflows)/(?P<secret>[\w/-]+)", ("hooks.slack.com",)),
    Rule(
        "stripe",
        r"\b(?P<secret>(?:[sr]k_(?:live|test)_|whsec_)\w{10,})",
        ("sk_live", "sk_test", "rk_live", "rk_test", "whsec_"),
    ),
    Rule(
        "google",
        r"\b(?P<secret>(?-i:AIza)[\w-]{30,}|(?-i:ya29\.)[\w-]{20,}|(?-i:GOCSPX-)[\w-]{20,})",
        ("aiza", "ya29.", "gocspx-"),
    ),
    Rule("npm", r"\b(?P<secret>npm_[a-z0-9]{30,})", ("npm_",)),
    Rule("pypi", r"\b(?P<secret>(?-i:pypi-A)[\w-]{30,})", ("pypi-a",)),
    Rule("huggingface", r"\b(?P<secret>(?-i:hf_)[a-z0-9]{20,})", ("hf_",)),
    Rule("openai", r"(?:^|[^\w.-])(?P<secret>(?-i:sk-)[\w-]{20,})", ("sk-",)),
    Rule("digitalocean", r"\b(?P<secret>do[opr]_v1_[a-f0-9]{32,})", ("dop_v1_", "doo_v1_", "dor_v1_")),
    Rule("sendgrid", r"\b(?P<secret>(?-i:SG\.)[\w-]{16,}\.[\w-]{16,})", ("sg.",)),
)

RULES: tuple[Rule, ...] = (*OPTIONS, *PROGRAMS, *HEADERS, *PLACES, *SHAPES)
