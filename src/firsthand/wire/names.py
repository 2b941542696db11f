"""What is called a secret: names in options, assignments and bodies, as parts of RE2 expressions."""

from __future__ import annotations

#: Names whose value is a secret. They must end the name: password-file and token-ttl are not among them.
SECRET_NAME = (
    r"(?:passwords?|passwd|passphrase|passcode|passwort|secret|token|psk|bearer|requirepass|masterauth"
    r"|(?:api|access|secret|account|shared|subscription|license|consumer|application|app|auth|unseal|hmac|session|storage"
    r"|master|deploy|join|bot)[\-_. ]?(?:access[\-_]?)?key"
    r"|(?:db|user|store|key|admin|root|my|ssh|ftp|smtp|proxy|http|ldap|mail|src|dest|trust|bind|[0-9_]|\b)pass|[a-z0-9_.\-]pwd"
    r"|(?:[0-9_.]|\b)pw|secret_id|passwd?[0-9]|password[0-9]|(?:sasl|pgp|gpg|wifi|wpa|vnc|rdp|sudo|become|rpc|reg|pull|pg)[_\-]?pass"
    r"|(?:[0-9_]|\b)(?:pwd|otp|totp)|session[\-_]?id|connection[\-_]?string"
    r"|(?:[0-9_]|\b|basic|http|proxy|ftp|smtp)(?:auth|authorization))"
)
#: Names whose value is a secret unless it is a path to one.
PATH_OR_SECRET = (
    r"(?:(?:private|encryption|encrypt|signing|ssl|tls|wireguard|service|client)[\-_.]?key(?:[\-_]data)?|credentials?)"
)
#: Names that end like a secret's and hold none: limits, switches, names of objects, pages of a listing.
NO_SECRET_NAME = (
    r"(?:(?:no|ask|prompt|prompt[\-_]for|requires?|disabled?|enabled?|existing|with|without|skip|allow|show|hide)[\-_]?(?:for[\-_])?"
    r"(?:password|passwd|passphrase|token|secret|auth|psk|pwd)|(?:no|ask|skip|with|without)[\-_]pass"
    r"|(?:max|min|num|pad|eos|bos|unk|sep|cls|mask|stop|end|start|next|page|starting|continue|continuation|sync|cancell?ation)"
    r"(?:[\-_][a-z]+)?[\-_]?token|image[\-_]?pull[\-_]?secret|tls[\-_]secret|old_?pwd)"
)
#: Values of --auth and the like that choose a kind and tell nothing.
NO_SECRET_VALUE = (
    r"(?:none|basic|digest|ntlm|negotiate|bearer|off|on|true|false|yes|no|required|optional|oauth2?|md5|trust|peer|plain|login"
    r"|null|any|kerberos|gssapi|mtls|tls|cram-md5|scram-sha-256|scram-sha-1)"
)
NAMES_HINT = (
    r"pass|secret|token|psk|bearer|masterauth|pw|otp|auth|key|session[\-_]?id|connection[\-_]?string|credential"
)
