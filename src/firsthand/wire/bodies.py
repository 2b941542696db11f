r"""Secrets inside what a program is told: statements of SQL and scripts, JSON, YAML and XML bodies, password hashes.

Expressions as in `patterns.py`, one alternative a line. In them <name> is a secret's name, <q> a quote that may be escaped,
<about> a member that tells of a secret without being one, and <string:x> a quoted string whose inside is the secret.
"""

from __future__ import annotations

import re

from firsthand.wire.names import NAMES_HINT, SECRET_NAME

_QUOTE = r"\\?[\"']"
_STRING = r"(?:'(?:[^'\\\x00]|''|\\[^\x00])+|\"(?:[^\"\\\x00]|\"\"|\\[^\x00])+)"
_ABOUT = (
    r"(?:[a-z]*name|type|kind|ttl|id|[a-z]*ref|[a-z]*from|path|file|mode|format|length|min[a-z_]*|max[a-z_]*|items|required"
    r"|description|\$ref|enabled|optional|default_?mode|expir[a-z_]*|algorithm|policy|provider|method|scheme)"
)


def _any(*alternatives: str) -> str:
    joined = "|".join(alternatives).replace("<name>", SECRET_NAME).replace("<names>", NAMES_HINT)
    joined = joined.replace("<q>", _QUOTE).replace("<about>", _ABOUT).replace("<string>", _STRING)
    return re.sub(r"<string:([a-z_]+)>", lambda found: _string(found[1]), joined)


def _string(name: str) -> str:
    """A string in either quotes, also with backslashes before them; the group is what stands inside."""
    return (
        r"(?:\\?'(?P<secret_" + name + r">(?:[^'\\\x00]|''|\\[^'\x00])+)"
        r"|\\?\"(?P<secret_" + name + r"_double>(?:[^\"\\\x00]|\"\"|\\[^\"\x00])+))"
    )


#: SQL of MySQL, MariaDB, PostgreSQL, Oracle, SQL Server, Cassandra, ClickHouse, SQLCipher; mongosh; expect; SMTP, POP3; .netrc, .pgpass.
STATEMENT = _any(
    r"\bidentified\s+(?:with\s+[^\x00\s]+\s+)?(?:by|as|using)\s+(?:password\s+|values\s+)?"
    r"(?:<string:by>(?:\\?['\"]\s+replace\s+<string:replace>)?|(?P<secret_by_word>[^\x00\s'\";\\]+))",
    r"\bidentified\s+via\s+[^\x00\s]+\s+(?:using|as)\s+(?:password\s*\(\s*)?<string:via>",
    r"\bset\s+(?:global\s+)?password\s+(?:for\s+[^=\x00]+?)?(?:=|to)\s*(?:(?:old_)?password\s*\(\s*)?<string:set>",
    r"\b(?:encrypted\s+|unencrypted\s+|with\s+)?password(?:\s+to|\s*=|\s*\()?\s*n?<string:word>",
    r"\bby\s+password\s+<string:by_password>",
    r"\b(?:master|source)_password\s*=\s*<string:master>",
    r"\b(?:pgp_sym_(?:en|de)crypt|aes_(?:en|de)crypt|des_(?:en|de)crypt|encode|decode|encryptbypassphrase|decryptbypassphrase)"
    r"\s*\(\s*(?:<string>['\"]|[^,\x00'\"()]+)\s*,\s*<string:crypt>",
    r"\b(?:crypt|encryptbypassphrase|decryptbypassphrase)\s*\(\s*<string:hashed>\s*",
    r"\bpragma\s+(?:re)?key\s*=\s*<string:pragma>",
    r"\battach\b[^\x00;]*\bkey\s+<string:attach>",
    r"\b(?:secret|encryption|by)\s*=?\s*password\s*=?\s*<string:certificate>",
    r"\bsecret\s*=\s*n?<string:credential>",
    r"\b(?:db\.)?(?:auth|changeUserPassword|createUser|login)\s*\(\s*<string>\\?['\"]\s*,\s*<string:call>",
    r"\b(?:pwd|passwd|password|pass)\s*:\s*<string:member>",
    r"\bset\s+password\s+for\s+[^=\x00'\"]+=\s*(?P<secret_for>[^\x00\s'\";]+)",
    r"\bexpect\b[^\x00]*?(?:assword|assphrase|passcode|\bpin\b)[^\x00]*?\bsend(?:_user)?\s+(?:--\s+)?"
    r"\\?(?:\"(?P<secret_sent>(?:[^\"\\\x00]|\\[^rn\x00])+)|\{(?P<secret_sent_braced>[^}\x00]+))",
    r"\bmachine\s+[^\x00\s]+\s+(?:login\s+[^\x00\s]+\s+)?password\s+(?P<secret_netrc>[^\x00\s\"']+)",
    r":[0-9*]+:[^\x00\s:]+:[^\x00\s:]+:(?P<secret_pgpass>[^\x00\s\"']+)[\"']?\s*>+\s*[^\x00\s]*pgpass",
    r"\bauth\s+(?:plain|login)\s+(?P<secret_mail>[a-z0-9+/=]{8,})",
    r"\buser\s+[^\x00\s]+[\s\x00]*(?:[;&\r]|\\n)[\s\x00]*pass\s+(?P<secret_pop>[^\x00\s\"';]+)",
)
STATEMENT_HINT = _any(
    r"\bidentified\s|\bpassword(?:\s+to|\s*=|\s*\()?\s*n?\\?['\"]|\bpassword\s+for\s|_password\s*=|crypt\s*\(",
    r"(?:en|de)code\s*\(|bypassphrase\s*\(|pragma\s+(?:re)?key|\battach\b[^\n]*\bkey\s|\bsecret\s*=\s*n?\\?['\"]",
    r"(?:auth|changeUserPassword|createUser|login)\s*\(\s*['\"]|(?:pwd|passwd|password|pass)\s*:\s*\\?['\"]",
    r"\bexpect\b[^\n]*send|\bauth\s+(?:plain|login)\s|\buser\s+[^\n]*pass\s|\bmachine\s[^\n]*password\s|pgpass",
)

_KEYED = r"<q>[a-z0-9_.\-]*<name><q>\s*:\s*"
_GROUPED = r"<q>(?:stringData|secrets|passwords|tokens|credentials)<q>\s*:\s*"
_ONLY_ABOUT = r"[{\[]\s*(?:<q><about><q>\s*:|[}\]])"
#: A value deeper than its name: an object or list below it, a block of YAML, the data of a Secret, a name and a value side by side.
NESTED = _any(
    _KEYED + _ONLY_ABOUT,
    _KEYED + r"[{\[]+(?P<secret_members>[^}\]\x00]+)",
    _GROUPED + _ONLY_ABOUT,
    _GROUPED + r"[{\[]+(?P<secret_strings>[^}\]\x00]+)",
    r"kind<q>?\s*:\s*<q>?Secret\b[^\x00]*?\bdata<q>\s*:\s*\{(?P<secret_data>[^}\x00]+)",
    r"<q>data<q>\s*:\s*\{(?P<secret_data_first>[^}\x00]+)\}[^\x00]*?kind<q>\s*:\s*<q>Secret\b",
    r"kind:\s*Secret\b[^\x00]*?\bdata:[ \t]*\r(?P<secret_yaml>(?:[ \t]+[^\r\x00]*\r?)+)",
    r"\bstringData:[ \t]*\r?(?P<secret_string_yaml>(?:[ \t]+[^\r\x00]*\r?)+)",
    r"\bstringData:[ \t]*\{(?P<secret_string_flow>[^}\x00]+)",
    r"(?:^|[\x00\s\"'])[a-z0-9_.\-]*<name>:[ \t]*(?:[|>][+\-]?[ \t]*)?\r[ \t]+<about>:",
    r"(?:^|[\x00\s\"'])[a-z0-9_.\-]*<name>:[ \t]*(?:[|>][+\-]?[ \t]*)?\r(?P<secret_block>[ \t]+[^\r\x00]+)",
    r"<q>(?:name|key|id|Name|ParameterKey|OptionName)<q>\s*:\s*<q>[a-z0-9_.:/\-]*<name><q>\s*,\s*"
    r"<q>(?:value|parametervalue|stringvalue)<q>\s*:\s*<q>(?P<secret_pair>(?:[^\"'\\\x00]|\\[^\"'\x00])+)",
    r"\b(?:name|key|id|ParameterKey|OptionName)\s*[=:]\s*<q>?[a-z0-9_.:/\-]*<name><q>?[\s,]+(?:value|parametervalue)\s*[=:]\s*"
    r"(?:<string:attribute>|(?P<secret_attribute_word>[^\x00\s\"'<>{},/\\][^\x00\s\"'<>{},]*))",
    r"<q>(?:type|credential_?type)<q>\s*:\s*<q>password<q>\s*,\s*<q>value<q>\s*:\s*<q>"
    r"(?P<secret_typed>(?:[^\"'\\\x00]|\\[^\"'\x00])+)",
)
NESTED_HINT = _any(
    r"(?:<names>)[a-z\-_]*<q>\s*:\s*[{\[]|stringData|(?:secrets|credentials)<q>\s*:\s*[{\[]|kind<q>?\s*:\s*<q>?Secret",
    r"(?:<names>)[a-z\-_]*:[ \t|>+\-]*\r[ \t]|type<q>\s*:\s*<q>password|<q>data<q>[^\n]*kind<q>\s*:\s*<q>Secret",
    r"(?:name|key|id)<q>?\s*[=:]\s*<q>?[a-z0-9_.:/\-]*(?:<names>)[a-z\-_]*<q>?[\s,]+<q>?[a-z]*value",
)

#: XML, with namespaces and CDATA; attributes; property lists; Hadoop's name and value.
XML = _any(
    r"<(?:[a-z0-9_\-]+:)?[a-z0-9_.\-]*<name>(?:\s[^<>\x00]*)?>\s*(?:<!\[CDATA\[)?(?P<secret>[^<\x00\s][^<\x00]*)",
    r"<[^<>\x00]*\s(?:[a-z0-9_\-]+:)?[a-z0-9_.\-]*<name>\s*=\s*<string:of_tag>",
    r"<key>[a-z0-9_.\- ]*<name></key>\s*<string\>(?P<secret_plist>[^<\x00]+)",
    r"<(?:name\>|key>)[^<\x00]*<name></(?:name|key)>\s*<(?:value|string)>(?P<secret_property>[^<\x00]+)",
)
XML_HINT = _any(r"<[^\n]*(?:<names>)")

#: NTLM pairs, crypt(5), Django and PHP hashes, SCRAM and md5 of PostgreSQL, LDAP schemes, GRUB.
_CRYPT = r"\$(?:1|2[abxy]?|5|6|7|y|gy|md5|sha1|apr1|argon2[a-z]*|pbkdf2[a-z0-9\-]*|P|H|8|9|14)\$[a-z0-9./$=,+\-]{16}"
HASHES = _any(
    r"(?:^|[\x00\s:=%])(?:[0-9a-f]{32}:(?P<secret_hash>[0-9a-f]{32})|:(?P<secret_empty>[0-9a-f]{32})"
    r"|(?P<secret_both>aad3b435b51404eeaad3b435b51404ee:[0-9a-f]*))",
    r"(?P<secret_crypt>" + _CRYPT + r"[a-z0-9./$=,+\-]*)",
    r"(?P<secret_scram>SCRAM-SHA-(?:1|256)\$[0-9]+:[^\x00\s\"']+)",
    r"\bmd5(?P<secret_postgres>[0-9a-f]{32})\b|\{(?:S?SHA[0-9]*|S?MD5|CRYPT)\}(?P<secret_ldap>[a-z0-9+/=$.]{16,})",
    r"grub\.pbkdf2\.sha512\.[0-9]+\.(?P<secret_grub>[0-9A-F.]{32,})",
)
HASHES_HINT = _any(
    r"[0-9a-f]{32}:[0-9a-f]|:[0-9a-f]{32}|SCRAM-SHA|md5[0-9a-f]{32}|\{(?:S?SHA|S?MD5|CRYPT)|grub\.pbkdf2", _CRYPT
)
