"""No secret passes, and nothing else is touched: shapes, near misses, rows alone, hostile bytes, users' patterns."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firsthand.errors import RedactionError
from firsthand.wire.batch import Lists, text
from firsthand.wire.redact import Pattern, compile_redactor

REDACTOR = compile_redactor()


def lists(rows: list[list[bytes]], valid: list[bool] | None = None) -> Lists:
    offsets = np.zeros(len(rows) + 1, dtype=np.int32)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    mask = None if valid is None else np.array(valid, dtype=bool)
    return Lists(offsets, text([item for row in rows for item in row]), mask)


def rows_of(args: Lists) -> list[list[bytes]]:
    return [args.row(i) for i in range(len(args))]


# | divides the arguments, @@ is the secret. No literal here is a secret's shape: they are put together below.
_FLAGS = (
    "password passwd pwd token secret psk api-key access-key client-secret auth-token secret-key db-password "
    "apiKey redis.password passphrase account-key admin-pass access-token requirepass"
).split()
_NAMES = (
    "DB_PASSWORD MYSQL_PWD GITHUB_TOKEN API_KEY AWS_SECRET_ACCESS_KEY CLIENT_SECRET WIFI_PSK PRIVATE_KEY "
    "PGPASSWORD dbPassword SECRET_KEY_TOKEN NPM_TOKEN MYSQL_ROOT_PASSWORD"
).split()
_HEADERS = (
    "Authorization: Bearer @@;Authorization: Basic @@;Authorization: Token @@;authorization:@@;X-Api-Key: @@;"
    "X-Auth-Token: @@;PRIVATE-TOKEN: @@;X-Vault-Token: @@;Cookie: session=@@;Proxy-Authorization: Basic @@;"
    "cookie: a=b; sid=@@;apikey: @@"
).split(";")
_SCHEMES = "http https ftp postgres postgresql mysql redis amqp mongodb+srv git+ssh smb ldap".split()
_LINES = [
    "curl|-u|me:@@|http://h",
    "curl|-ume:@@|http://h",
    "/usr/bin/curl|-su|me:@@|h",
    "curl|--user|me:@@|h",
    "curl|--user=me:@@",
    "curl|--proxy-user|me:@@",
    "sh|-c|curl -s -u me:@@ http://h",
    "sh|-c|curl --user 'me:@@' http://h",
    "curl|-b|session=@@|h",
    "sshpass|-p|@@|ssh|u@h",
    "sshpass|-p@@|ssh|u@h",
    "sudo|sshpass|-v|-p|@@|ssh",
    "sh|-c|sshpass -p @@ ssh u@h",
    "sh|-c|sshpass -p '@@' ssh u@h",
    "mysql|-uroot|-p@@|db",
    "/usr/bin/mysqldump|-p@@",
    "sudo|mysql|-p@@",
    "mariadb|-h|x|-p@@",
    "bash|-c|mysql -uroot -p@@ db",
    "redis-cli|-a|@@|ping",
    "docker|login|-u|me|-p|@@|registry",
    "openssl|rsa|-passin|pass:@@",
    "x|AccountName=n;AccountKey=@@;EndpointSuffix=s",
    "x|Server=h;User=u;Password=@@;Db=d",
    "x|Endpoint=sb:;SharedAccessKey=@@",
    "aws|configure|set|aws_secret_access_key|@@",
    "curl|http://h/?token=@@&x=1",
    "curl|http://h/?a=1&api_key=@@",
    "x|--password|--token|@@",
    "x|--password|-token|@@",
    "sh|-c|run --password @@ --verbose",
    "sh|-c|run --token=@@; ls",
    'sh|-c|run --token "@@ tail" && ls',
    "sh|-c|export GH_TOKEN=@@; ls",
    "sh|-c|API_KEY=@@ run",
    "sh|-c|echo password: @@ > f",
    "helm|--set|db.password=@@,x=1",
    "helm|--set|x=1,db.password=@@",
    "docker|run|-e|DB_PASSWORD=@@|i",
    "x|--password=with space @@",
    "x|--password|with space @@",
    "x|--password|-@@",
    "git|-c|http.extraheader=Authorization: Basic @@",
    'x|{\\"password\\": \\"@@\\"}',
    "x|{'secret': '@@'}",
    "x|a: b\npassword: @@\nc: d",
    "x|- token: @@",
    "x|postgres://u:p/@@@h/db",
]


def templates() -> list[str]:
    found = [f"x|--{flag}={{}}|y" for flag in _FLAGS] + [f"x|--{flag}|{{}}|y" for flag in _FLAGS]
    found += [f"x|-{flag}|{{}}" for flag in _FLAGS] + [f"sh|-c|x --{flag} {{}} y" for flag in _FLAGS]
    found += [f"env|{name}={{}}|y" for name in _NAMES] + [f"sh|-c|{name}={{}} y" for name in _NAMES]
    found += [f'x|{{"a":1,"{name}": "{{}}"}}' for name in ("password", "token", "apiKey", "client_secret", "secret")]
    found += [f"x|{name}: {{}}" for name in ("password", "token", "api_key", "db_password", "secret")]
    found += [f"curl|-H|{header}|u" for header in _HEADERS]
    found += [f"sh|-c|curl -H '{header}' u" for header in _HEADERS]
    found += [f"x|{scheme}://me:{{}}@host:80/p" for scheme in _SCHEMES]
    found += [f"x|{scheme}://:{{}}@host" for scheme in ("redis", "http")]
    return [line.replace("{}", "@@").replace("{{", "{").replace("}}", "}") for line in [*found, *_LINES]]


def shapes() -> list[str]:
    """Secrets that betray themselves, from pieces."""
    word = "q7Zk3Rt9Wm2Xv5Bn8Lc1Hd4Js6"
    capital, small = word.upper(), word.lower()
    digits = "0123456789abcdef" * 4
    pieces = [
        ("AK", "IA" + capital[:16]), ("AS", "IA" + capital[:16]),
        *[("gh" + kind, "_" + word + word[:10]) for kind in "pousr"],
        ("github", "_pat_" + word), ("gl", "pat-" + word), ("gl", "rt-" + word),
        *[("xo", f"x{kind}-1234567890-{word}") for kind in "bpars"], ("xa", "pp-1-" + word),
        ("sk", "_live_" + word), ("sk", "_test_" + word), ("rk", "_live_" + word), ("wh", "sec_" + word),
        ("AI", "za" + (word + word)[:35]), ("ya", "29." + word), ("np", "m_" + (word + word)[:36]),
        ("py", "pi-A" + "gE" + word + word), ("h", "f_" + word + word[:8]), ("s", "k-" + word + word),
        ("s", "k-proj-" + word), ("do", "p_v1_" + digits), ("S", f"G.{word[:22]}.{word}{word[:17]}"),
        ("ey", f"J{word}.eyJ{word}.{word}"), ("ey", f"J{small}.e30."),
    ]  # fmt: skip
    return [a + b for a, b in pieces]


def secret(index: int) -> str:
    """Another for each template; with marks that a password may have."""
    return f"S3cr{index:03d}%Zq!{index * 7919:05d}+x"


def test_there_are_more_than_two_hundred_shapes() -> None:
    assert len(set(templates())) + 3 * len(shapes()) > 200


@pytest.mark.parametrize(("index", "line"), list(enumerate(templates())))
def test_no_secret_after_a_name_passes(index: int, line: str) -> None:
    hidden = secret(index)
    row = [item.encode() for item in line.replace("@@", hidden, 1).split("|")]
    done = REDACTOR.apply(lists([[b"ls"], row, [b"ls"]]))
    assert hidden.encode() not in done.args.items.data.tobytes()
    assert hidden.encode()[4:] not in done.args.items.data.tobytes()
    assert done.redacted.tolist() == [False, True, False]
    assert len(done.args.row(1)) == len(row) and done.args.row(1)[0] == row[0]
    assert done.patterns.row(1) and done.patterns.valid is not None and done.patterns.valid.tolist() == [0, 1, 0]
    block = REDACTOR.apply_text(text([b"", b"\0".join(row) + b"\0"]))
    assert block.column.row(1) == b"\0".join(done.args.row(1)) + b"\0"


@pytest.mark.parametrize("frame", ["{}", "a={}", "https://{}@host/", "echo '{}' | run"])
@pytest.mark.parametrize("shape", shapes())
def test_no_token_passes_whatever_stands_about_it(shape: str, frame: str) -> None:
    done = REDACTOR.apply(lists([[b"x", frame.format(shape).encode(), b"y"]]))
    assert shape[6:].encode() not in done.args.items.data.tobytes()
    assert done.args.row(0) == [b"x", frame.format("[redacted]").encode(), b"y"] or frame != "{}"


@pytest.mark.parametrize("kind", ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "])
@pytest.mark.parametrize("line", ["\n", "\\n", " "])
@pytest.mark.parametrize("whole", [True, False])
def test_private_keys(kind: str, line: str, whole: bool) -> None:
    body = line.join(["MIIqwertyuiop" * 4] * 3)
    block = f"-----BEGIN {kind}PRIVATE KEY-----{line}{body}{line}"
    block += f"-----END {kind}PRIVATE KEY-----{line}rest" if whole else ""
    done = REDACTOR.apply(lists([[b"x", block.encode(), b"after"]]))
    assert b"qwerty" not in done.args.items.data.tobytes()
    assert done.args.row(0)[2] == b"after"
    assert (b"rest" in done.args.row(0)[1]) == whole


_MISSES = [
    "x|--password-file|/etc/pw", "x|--password-file=/etc/pw", "x|--token-ttl|30s", "x|--token-ttl=30s",
    "passwd|root", "cat|/etc/passwd", "grep|password|file", "x|--no-password", "pg_dump|--no-password|db",
    "x|mailto:u@h", "ssh|u@h", "curl|http://h:80/p@v2", "x|monkey=1", "git|show|" + "0a1b2c3d4e" * 4,
    "x|123e4567-e89b-12d3-a456-426614174000", "docker|pull|alpine@sha256:" + "ab" * 32,
    "skopeo|copy|docker://alpine:3.18@sha256:" + "ab" * 32, "x|tokenize|--input|x", "x|--tokenize|x",
    "x|--secret-name|foo", "x|--key-file|x", "x|--key|/etc/x.pem", "x|PWD=/root", "x|OLDPWD=/tmp",
    "x|TOKENIZERS_PARALLELISM=false", "x|PASSWORD_FILE=/run/x", "x|--secret=id=a,src=b", "x|--secret|id=a,src=b",
    "mysql|-p|db", "mysql|-uroot|db", "mkdir|-p/x", "ssh|-p22|h", "curl|-u|me|http://h", "curl|http://h:8080/a:b",
    "tar|-pxf|a", "x|--bypass|y", "x|compass=1", "x|--keyboard|us", "x|keyring=a", "ssh-keygen|-t|ed25519",
    "kubectl|get|secret|foo", "kubectl|get|secrets", "kubectl|create|token|default", "x|author=me", "x|--author=me",
    "git|log|--author|me", "x|git@github.com:a/b.git", "x|ssh://git@host/a", "rsync|a|u@h:/b", "systemctl|start|auth",
    "x|ftp://host/a@b:c", "x|disk-encryption-of-all-the-things-at-once", "x|task-runner-with-a-very-long-name-here",
    "x|eyJ", "x|sk-learn", "x|npm_config_cache=/x", "npm_run|x", "pip|install|pypi-attestations", "x|hf_hub",
    "x|-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----", "x|-----BEGIN PUBLIC KEY-----abc", "x|msg.txt",
    "x|AKIA", "x|xoxo", "x|cookies.txt", "curl|-b|cookies.txt|h", "vim|secrets.yaml", "x|bearer of news", "x|://",
    "x|--password", "x|--token", "x|[::1]:80", "x|--max-tokens|5", "sort|-k2|key", "x|a key: b"[:8], "",
]  # fmt: skip


@pytest.mark.parametrize("line", _MISSES)
def test_near_misses_stay(line: str) -> None:
    args = lists([[item.encode() for item in line.split("|")]])
    done = REDACTOR.apply(args)
    assert done.args is args
    assert not done.redacted.any()
    column = text([b"\0".join(args.row(0))])
    assert REDACTOR.apply_text(column).column is column


_PIECES = [item.encode() for line in templates() for item in line.replace("@@", "S3cr3t!x").split("|")]
_ITEMS = st.one_of(st.sampled_from(_PIECES), st.binary(max_size=12), st.sampled_from([b"", b"--token", b"\xff\xfe"]))
_ROWS = st.lists(st.lists(_ITEMS, max_size=5), max_size=8)


@settings(max_examples=150, deadline=None)
@given(_ROWS)
def test_a_batch_is_its_rows_each_alone(rows: list[list[bytes]]) -> None:
    done = REDACTOR.apply(lists(rows))
    alone = [REDACTOR.apply(lists([row])) for row in rows]
    assert rows_of(done.args) == [one.args.row(0) for one in alone]
    assert done.redacted.tolist() == [bool(one.redacted[0]) for one in alone]
    assert [done.patterns.row(i) for i in range(len(rows))] == [one.patterns.row(0) for one in alone]
    blocks = [b"\0".join(row) for row in rows]
    whole = REDACTOR.apply_text(text(blocks)).column
    assert [whole.row(i) for i in range(len(rows))] == [
        REDACTOR.apply_text(text([block])).column.row(0) for block in blocks
    ]


def test_a_keyword_across_two_rows_hides_no_other() -> None:
    rows = [[b"x", b"--apiKe"], [b"y-token=1", b"--password", b"hidden"], [b"pa"], [b"sswd", b"--pass", b"hidden"]]
    assert b"hidden" not in REDACTOR.apply(lists(rows)).args.items.data.tobytes()


def test_invalid_utf8_and_null_rows() -> None:
    rows = [[b"\xff", b"--token=\xfe\xfd", b"\xfc"], [b"x", b"--token=hidden"]]
    done = REDACTOR.apply(lists(rows, [True, False]))
    assert done.args.row(0) == [b"\xff", b"--token=[redacted]", b"\xfc"]
    assert done.redacted.tolist() == [True, False]
    for mode in ("hash", "drop"):
        assert compile_redactor(mode=mode).apply(lists(rows, [True, False])).redacted.tolist() == [True, False]


@pytest.mark.parametrize("mode", ["mask", "hash", "drop"])
def test_nothing_at_all(mode: str) -> None:
    redactor = compile_redactor(mode=mode)  # type: ignore[arg-type]
    assert len(redactor.apply(lists([])).args) == 0
    assert rows_of(redactor.apply(lists([[], [b""]])).args)[0] == []
    assert len(redactor.apply_text(text([])).column) == 0


def test_a_slice_of_a_larger_buffer() -> None:
    whole = lists([[b"a", b"--token=one"], [b"b", b"--token=two"], [b"c"]])
    part = Lists(whole.offsets[1:], whole.items, None)
    done = REDACTOR.apply(part)
    assert rows_of(done.args) == [[b"b", b"--token=[redacted]"], [b"c"]]


def test_hash_and_drop() -> None:
    args = lists([[b"x", b"a", b"a"], [b"y"]])
    one = compile_redactor(mode="hash", key=b"k" * 100).apply(args)
    first = one.args.row(0)
    assert first[0] == b"x" and first[1] == first[2] and len(first[1]) == 21 and first[1].startswith(b"hash:")
    assert one.patterns.row(0) == b"hashed" and one.redacted.all() and one.args.row(1) == [b"y"]
    assert compile_redactor(mode="hash").apply(args).args.row(0)[1] != first[1]
    block = compile_redactor(mode="hash", key=b"k" * 100).apply_text(text([b"x\0a\0a\0"])).column.row(0)
    assert block == b"\0".join(first) + b"\0"
    gone = compile_redactor(mode="drop").apply(args)
    assert rows_of(gone.args) == [[], []] and gone.patterns.row(1) == b"dropped" and gone.redacted.all()
    assert compile_redactor(mode="drop").apply_text(text([b"x\0a"])).column.row(0) == b""


def test_users_patterns() -> None:
    redactor = compile_redactor([Pattern("badge", r"badge (?P<secret>\d+)"), Pattern("word", "zebra+")])
    done = redactor.apply(lists([[b"x", b"badge 123", b"a ZEBRAA b"], [b"y"]]))
    assert done.args.row(0) == [b"x", b"badge [redacted]", b"a [redacted] b"]
    assert done.patterns.row(0) == b"badge,word"
    across = compile_redactor([Pattern("all", "(?s)b.*c")]).apply(lists([[b"ab", b"mm", b"cd"]]))
    assert across.args.row(0) == [b"a[redacted]", b"[redacted]", b"[redacted]d"]


@pytest.mark.parametrize(
    "expression", ["(", "a(?=b)", r"(a)\1", "a*", "x?", r"\b", "^", "$", "a" * 513, "(a{1000}){1000}"]
)
def test_patterns_that_cannot_be_used(expression: str) -> None:
    with pytest.raises(RedactionError, match="mine.*;"):
        compile_redactor([Pattern("mine", expression)])


def test_too_many_patterns_and_wrong_modes() -> None:
    compile_redactor([Pattern(f"p{i}", f"word{i}") for i in range(64)])
    with pytest.raises(RedactionError, match="at most 64"):
        compile_redactor([Pattern(f"p{i}", "a") for i in range(65)])
    with pytest.raises(RedactionError, match="mask, hash or drop"):
        compile_redactor(mode="other")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "piece", [b"--password ", b"curl -u ", b"://a:", b"cookie: -", b"--token\0", b"eyJ", b'"key":']
)
def test_hostile_rows_take_linear_time(piece: bytes) -> None:
    began = time.perf_counter()
    REDACTOR.apply_text(text([piece * (65536 // len(piece))]))
    assert time.perf_counter() - began < 3
