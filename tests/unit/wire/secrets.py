"""200 shapes of secrets in arguments, and near misses. Token shapes are made at test time: no literal here looks real.

A shape is (arguments, secrets): none of the secrets may be found in what redaction leaves.
"""

from __future__ import annotations

import base64
import hashlib
import string

Shape = tuple[list[str], list[str]]

_ALNUM = string.ascii_letters + string.digits


def made(length: int, alphabet: str = _ALNUM, seed: str = "") -> str:
    """A reproducible string of that length from the alphabet, another for each seed."""
    raw = hashlib.shake_256(f"{seed}/{length}/{alphabet}".encode()).digest(length)
    return "".join(alphabet[byte % len(alphabet)] for byte in raw)


_HEX = "0123456789abcdef"
_UPPER = string.ascii_uppercase + "234567"
_URL64 = _ALNUM + "_-"
#: A value that no shape tells by itself: only its place does.
S = "Tr0ub4dor"

_PLACES = r"""
app --password §|app --password=§|app --PASSWORD §|app -password §|app --db-password §|app --db.password=§
app --passwd §|app --passwd=§|app --passphrase §|app --passphrase=§|app --pwd §|app --db-pwd=§|app --admin-pass §|app --pass §
app --token §|app --token=§|app --auth-token §|app --authToken=§|app --github_token §|app --secret §|app --secret=§
app --client-secret §|app --client_secret=§|app --clientSecret §|app --psk §|app --psk=§|app --wpa-psk §|app --api-key §
app --api-key=§|app --apikey §|app --api_key=§|app --apiKey §|app --access-key §|app --access-key=§|app --secret-key §
app --secret-access-key §|app --account-key=§|app --auth §|app --basic-auth u:§|app --http-auth=§|app --bearer §|app --bearer=§
app --requirepass §|app --masterauth §|app --license-key §|app --auth-key=§|app --otp §|app --session-key=§|app --session-id §
app --encryption-key §|app --signing-key=§|app --credentials §|app --unseal-key §|app --join-key §|app --bot-key §
keytool -storepass §|keytool -keypass §|keytool -srcstorepass §|java -Djavax.net.ssl.keyStorePassword=§ -jar a.jar
java -Ddb.password=§ -jar a.jar|gradle -Ppassword=§ build|mvn -Dgpg.passphrase=§ deploy|app --set db.password=§
helm install --set=auth.token=§ x|kubectl create secret generic n --from-literal=password=§|docker run -e DB_PASSWORD=§ image
docker run --env=API_TOKEN=§ image|docker build --build-arg TOKEN=§ .|env PASSWORD=§ app|env DB_PASSWORD=§ app|env PGPASSWORD=§ psql
env MYSQL_PWD=§ mysql|env API_KEY=§ app|env ACCESS_TOKEN=§ app|env AWS_SECRET_ACCESS_KEY=§ app|env AWS_SESSION_TOKEN=§ app
env CLIENT_SECRET=§ app|env SMTP_PASS=§ app|env DB_PASS=§ app|env SPRING_DATASOURCE_PASSWORD=§ app|env SESSION_SECRET=§ app
make PASSWORD=§ deploy|ansible -e ansible_become_pass=§ all|ansible-playbook --extra-vars ansible_password=§ p.yml|terraform apply -var db_password=§
terraform apply -var=token=§|mysql -p§|mysql -u root -p§ db|mysqldump -uroot -p§ db|mysqladmin -p§ status|mariadb -p§
mariadb-dump -p§ db|mysql -u root -p §|/usr/bin/mysql --password=§|sshpass -p § ssh h|sshpass -p§ ssh h|mongo -p §|mongosh -u a -p §
mongodump -p§|redis-cli -a § ping|redis-cli -h h -a §|mosquitto_pub -P § -t x|ipmitool -H h -U a -P § power|ldapsearch -x -w §
7z a -p§ out.7z x|zip -P § out.zip x|unzip -P § out.zip|docker login -u a -p § r|docker login -p§ r|podman login -p § r
helm registry login -u a -p § r|az login -u a -p §|oc login -p §|docker login --password § r|useradd -p § bob
openssl enc -k § -in x|openssl rsa -passin pass:§|openssl genrsa -passout pass:§|curl -u user:§ http://h|curl -uuser:§ http://h
curl --user user:§ http://h|curl --user=user:§ http://h|curl -su user:§ http://h|curl -U user:§ http://h|curl --proxy-user a:§ http://h
curl -E cert.pem:§ http://h|http -a user:§ GET h|wpa_passphrase net §|wpa_cli set_network 0 psk §|nmcli dev wifi connect n password §
nmcli c modify n wifi-sec.psk §|iwconfig wlan0 key §|htpasswd -b file bob §|htpasswd -nb bob §|vault login §|git config user.password §
aws configure set aws_secret_access_key §|npm config set //r/:_authToken §|pip config set global.token §|xfreerdp /u:a /p:§ /v:h
smbclient //h/s -U user%§|sqlplus scott/§@db|lftp -u user,§ h|psql postgres://user:§@host/db|psql postgresql://user:§@host:5432/db
redis-cli -u redis://:§@host:6379|app amqp://guest:§@mq:5672/v|mongosh mongodb+srv://u:§@c.example.net/db|mongosh mongodb://u:§@a,b/db
git clone https://user:§@host/r.git|git clone https://oauth2:§@host/r.git|curl ftp://user:§@host/f|curl http://user:§@127.0.0.1:80/
pip install --index-url https://u:§@host/simple p|app mysql://u:§@h/d|app smtp://u:§@h:25|app socks5://u:§@h:1080|curl -x http://u:§@p:3128 http://h
app sqlserver://sa:§@h?database=d|app ldap://cn:§@h|rsync rsync://u:§@h/m|app rtsp://u:§@cam/1|app jdbc:mysql://h/d?user=a&password=§&x=1
curl http://h/?token=§|curl http://h/?a=1&access_token=§&b=2|curl http://h/?api_key=§|curl http://h/?client_secret=§#f
curl http://h/x?sig=§&se=1|curl http://h/x?X-Amz-Signature=§|curl -d password=§ http://h|curl --data user=a&password=§ http://h
curl -F token=§ http://h|mount -t cifs -o username=a,password=§ //h/s /mnt|app //user:§@host/x|curl -b session=§ http://h
curl --cookie session=§ http://h|snmpwalk -v3 -A § h|kubectl --token § get pods|kubectl config set-credentials u --token=§|gh auth login --token=§
"""

_QUOTED: tuple[tuple[str, ...], ...] = (
    ("curl", "-H", "Authorization: Bearer §", "h"),
    ("curl", "-H", "Authorization: Basic §", "h"),
    ("curl", "-H", "authorization:Bearer §", "h"),
    ("curl", "-H", "Authorization: token §", "h"),
    ("curl", "-H", "Proxy-Authorization: Basic §", "h"),
    ("curl", "-HAuthorization: §", "h"),
    ("curl", "-H", "X-Api-Key: §", "h"),
    ("curl", "-H", "X-Api-Key:§", "h"),
    ("curl", "-H", "X-Auth-Token: §", "h"),
    ("curl", "-H", "X-Vault-Token: §", "h"),
    ("curl", "-H", "PRIVATE-TOKEN: §", "h"),
    ("curl", "-H", "apikey: §", "h"),
    ("curl", "-H", "Cookie: session=§", "h"),
    ("curl", "-H", "Set-Cookie: id=§; Path=/", "h"),
    ("wget", "--header=Authorization: Bearer §", "h"),
    ("wget", "--header=Cookie: a=b; c=§", "h"),
    ("curl", "-H", "Authorization:", "Bearer", "§", "h"),
    ("curl", "-d", '{"password": "§"}', "h"),
    ("curl", "-d", '{"user":"a","password":"§"}', "h"),
    ("curl", "-d", '{"db_password" : "§ with \\"quotes\\" inside"}', "h"),
    ("curl", "-d", '{"client_secret":"§","x":1}', "h"),
    ("curl", "-d", '{"auth":{"apiKey":"§"}}', "h"),
    ("curl", "-d", "{'token': '§'}", "h"),
    ("sh", "-c", 'curl -d "{\\"password\\":\\"§\\"}" h'),
    ("sh", "-c", 'echo \'{"token": "§"}\' | tee x'),
    ("sh", "-c", "PASSWORD=§ ./run --fast"),
    ("sh", "-c", "export DB_PASSWORD='§ and more'; run"),
    ("sh", "-c", 'export DB_PASSWORD="§ and more"; run'),
    ("sh", "-c", "mysql -u root -p§ db < dump"),
    ("sh", "-c", "mysql --password=§ db"),
    ("sh", "-c", "app --token § --fast"),
    ("sh", "-c", "app --token '§ with blanks' --fast"),
    ("sh", "-c", "curl -u user:§ http://h | sh"),
    ("sh", "-c", "sshpass -p § ssh h"),
    ("sh", "-c", "sshpass -p '§' ssh h"),
    ("sh", "-c", "cd /x && docker login -u a -p § r"),
    ("sh", "-c", "echo § | docker login -u a --password-stdin"),
    ("sh", "-c", "echo § | sudo -S id"),
    ("sh", "-c", "echo root:§ | chpasswd"),
    ("sh", "-c", "git clone https://a:§@host/r.git"),
    ("bash", "-lc", "API_KEY=§ exec app"),
    ("app", "password: §"),
    ("app", "password: '§'"),
    ("app", 'password: "§"'),
    ("app", "--config", "user: a\npassword: §\nhost: b"),
    ("app", "--config", "[db]\npassword = §\n"),
    ("app", "password:§"),
    ("app", "Server=h;User=a;Password=§;Database=d"),
    ("app", "Server=h;Uid=a;Pwd=§;"),
    ("app", "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=§==;EndpointSuffix=x"),
    ("app", "Endpoint=sb://x/;SharedAccessKeyName=n;SharedAccessKey=§="),
    ("app", "jdbc:sqlserver://h;user=a;password={§};"),
    ("app", "--password", "two words §"),
    ("app", "--password=two words §"),
    ("app", "--password", "-x7§9long"),
    ("env", "DB_PASSWORD=two words §", "run"),
    ("app", "--password", "", "--token", "§"),
    ("app", "--no-password", "--token", "§"),
    ("app", "--token-ttl", "30s", "--token", "§"),
    ("app", "password=§\nsecond line"),
    ("app", "{password: §, user: a}"),
    ("python3", "-c", "connect(user='a', password='§')"),
    ("ruby", "-e", "login(:password => '§')"),
    ("app", "--header", "Authorization: ApiKey §"),
    ("nc", "h", "GET / HTTP/1.1\r\nAuthorization: Basic §\r\n\r\n"),
    ("psql", "host=h user=a password=§ dbname=d"),
    ("app", "postgres://user:§/with/slash@host/db"),
)


def places() -> list[Shape]:
    """Shapes in which only the place tells that a value is secret; § stands for it."""
    rows = [entry.split(" ") for line in _PLACES.strip().splitlines() for entry in line.split("|")]
    return [([word.replace("§", S) for word in row], [S]) for row in [*rows, *_QUOTED]]


def _tokens() -> list[str]:
    """One of each token shape that tells itself, made here."""

    def a(n: int) -> str:
        return made(n, _ALNUM)

    def h(n: int) -> str:
        return made(n, _HEX)

    def u(n: int) -> str:
        return made(n, _URL64)

    upper = made(16, _UPPER)
    prefixed = {
        "AKIA": upper,
        "ASIA": upper,
        "gh" + "p_": a(36),
        "gh" + "o_": a(36),
        "gh" + "u_": a(36),
        "gh" + "s_": a(36),
        "gh" + "r_": a(36),
        "github" + "_pat_": a(22) + "_" + a(59),
        "gl" + "pat-": a(20),
        "gl" + "dt-": a(20),
        "glr" + "t-": a(20),
        "GR134" + "8941": a(20),
        "xo" + "xb-": made(40, string.digits) + "-" + a(24),
        "xo" + "xp-": a(40),
        "xa" + "pp-1-": a(40),
        "AI" + "za": u(35),
        "ya" + "29.": u(60),
        "GOC" + "SPX-": u(28),
        "1/" + "/0": u(40),
        "sk_" + "live_": a(24),
        "rk_" + "live_": a(24),
        "sk_" + "test_": a(24),
        "wh" + "sec_": a(32),
        "sq0" + "atp-": u(22),
        "np" + "m_": a(36),
        "pypi-" + "AgE": u(80),
        "ruby" + "gems_": h(48),
        "dckr" + "_pat_": u(27),
        "AK" + "Cp": a(69),
        "SG" + ".": u(22) + "." + u(43),
        "S" + "K": h(32),
        "key" + "-": h(32),
        "dop" + "_v1_": h(64),
        "shp" + "at_": h(32),
        "hv" + "s.": a(90),
        "dap" + "i": h(32),
        "sk" + "-": a(48),
        "hf" + "_": a(34),
        "lin_" + "api_": a(40),
        "nt" + "n_": a(46),
        "gl" + "sa_": a(32) + "_" + h(8),
        "NR" + "AK-": made(27, _UPPER),
        "sntr" + "ys_": a(60),
        "ATA" + "TT3x": a(80),
        "HR" + "KU-": u(60),
        "dp" + ".pt.": a(43),
        "pscale" + "_tkn_": a(43),
        "LT" + "AI": a(20),
        "ts" + "key-auth-": a(30),
        "sb" + "p_": h(40),
        "PM" + "AK-": h(24) + "-" + h(34),
        "bk" + "ua_": h(40),
        "CCI" + "PAT_": a(22) + "_" + h(40),
        "fig" + "d_": u(40),
        "pu" + "l-": h(40),
        "xkey" + "sib-": h(64) + "-" + a(16),
        "o" + "y2": made(43, "abcdefghij234567"),
        "AGE-" + "SECRET-KEY-1": made(58, _UPPER),
    }
    return [prefix + rest for prefix, rest in prefixed.items()]


def jwt(seed: str = "") -> str:
    """A JSON web token of made-up parts."""
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=").decode()
    body = base64.urlsafe_b64encode(f'{{"sub":"{made(12, seed=seed)}","exp":1}}'.encode()).rstrip(b"=").decode()
    return f"{head}.{body}.{made(43, _URL64, seed)}"


def pem(kind: str = "RSA ", line_end: str = "\n") -> tuple[str, str]:
    """A PEM block with a body of made-up bytes, and a part of that body."""
    lines = [made(64, _ALNUM + "+/", f"{kind}{n}") for n in range(4)]
    edge = f"{kind}PRIVATE KEY" + (" BLOCK" if kind == "PGP " else "")
    return line_end.join([f"-----BEGIN {edge}-----", *lines, f"-----END {edge}-----"]), lines[2]


def shaped() -> list[Shape]:
    """Secrets that tell themselves, in a place that tells nothing."""
    found: list[Shape] = [(["app", "run", token, "x"], [token[len(token) // 2 :]]) for token in _tokens()]
    found += [(["sh", "-c", f"run {token} x"], [token[len(token) // 2 :]]) for token in _tokens()[:8]]
    found += [(["app", jwt()], [jwt()[-40:]]), (["app", f"x={jwt('b')};"], [jwt("b")[-40:]])]
    for kind in ("", "RSA ", "EC ", "DSA ", "OPENSSH ", "ENCRYPTED ", "PGP "):
        block, part = pem(kind)
        found.append((["app", block, "after"], [part]))
    for end in ("\\n", " ", "\r\n"):
        block, part = pem("EC ", end)
        found.append((["app", block, "after"], [part]))
    block, part = pem()
    found.append((["echo", *block.replace("\n", " ").split(" "), "after"], [part]))
    encoded = base64.b64encode(block.encode()).decode()
    found.append((["app", encoded], [encoded[-60:]]))
    bare = "MII" + "EpAIBAAKCAQEA" + made(200)
    found.append((["app", bare], [bare[-60:]]))
    found += _in_urls()
    return found


def _in_urls() -> list[Shape]:
    hook, token = made(24), made(40, _HEX)
    return [
        (["curl", "https://hooks." + f"slack.com/services/T000/B000/{hook}"], [hook]),
        (["curl", f"https://discord.com/api/webhooks/123456/{hook}"], [hook]),
        (["curl", f"https://api.example.org/bot12345678:AA{made(33, _URL64)}/send"], [made(33, _URL64)]),
        (["git", "clone", f"https://{token}@github.com/a/b"], [token]),
        (["s3fs", "-o", "AKIA" + made(16, _UPPER) + ":" + made(40, _ALNUM + "/+")], [made(40, _ALNUM + "/+")]),
    ]


def cut() -> list[Shape]:
    """Secrets cut off by the truncation edge: their closing mark is gone."""
    block, part = pem()
    half = jwt("cut")
    return [
        (["app", block[: block.index(part) + 30]], [part[:30]]),
        (["app", "--key", block[: block.index(part) + 30].replace("\n", "\\n")], [part[:30]]),
        (["echo", *block[: block.index(part) + 30].replace("\n", " ").split(" ")], [part[:30]]),
        (["app", half[:60]], [half[30:60]]),
        (["app", half[:30]], [half[10:30]]),
        (["app", half[: half.rindex(".") + 5]], [half[30:60]]),
        (["app", "--password", S[:5]], [S[:5]]),
        (["app", f"--password={S[:5]}"], [S[:5]]),
        (["app", f"postgres://user:{S[:6]}"], [S[:6]]),
        (["curl", "-d", '{"password": "' + S], [S]),
        (["curl", "-H", f"Authorization: Bearer {S}"], [S]),
        (["sh", "-c", f'PASSWORD="{S} and'], [S]),
        (["app", f"AccountName=a;AccountKey={S}"], [S]),
        (["app", "AKIA" + made(9, _UPPER)], [made(9, _UPPER)]),
        (["curl", "-u", f"user:{S[:4]}"], [S[:4]]),
    ]


NEAR_MISSES: tuple[tuple[str, ...], ...] = tuple(
    tuple(entry.split(" "))
    for line in r"""
app --password-file /etc/pw|app --token-ttl 30s|passwd root|cat /etc/passwd|grep password file|psql --no-password mydb
mail mailto:user@host|ssh user@host|curl http://host:80/path@v2|kubectl create secret generic foo|app --secret-name foo
git show 3f786850e387550fdab836ed7e6dc881de23001b|app 123e4567-e89b-12d3-a456-426614174000|tokenize --input x|app monkey=1
docker pull r/i@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855|ls /a/b/YWJjZGVmZ2hpamtsbW5vcA/x
docker run -p 80:80 nginx|mkdir -p /srv/www|cp -p a b|ssh -p 2222 host|nmap -p 1-1000 host|ps -p 1|tar -xpf a.tar
curl http://host/path|curl https://host:8443/v1/tokens|git push -u origin main:main|chown root:root /etc/shadow
docker run -u 1000:1000 image|rsync -av a/ host:/b|scp file user@host:/tmp|git clone git@github.com:o/r.git|git clone https://github.com/o/r
curl -o token.json http://h|vim secret.yaml|cat /run/secrets/db_password|ls -l /var/run/secrets/kubernetes.io/serviceaccount/token
app --token-file=/run/t|app --max-tokens 256|app --max-token 5|app --next-token-page 3|app --pad-token x|app --author me|app --authority x
openssl x509 -in cert.pem -text|ssh-keygen -t ed25519 -f id|ansible --private-key /root/.ssh/id all|env GOOGLE_APPLICATION_CREDENTIALS=/x/key.json app
env PWD=/root OLDPWD=/tmp app|app --keyboard us|app --key-file x|keyctl show|systemctl restart sshd|make monkey key=1|app --bypass x
docker build --secret id=mysecret,src=f .|docker build --secret=id=a,src=b .|skopeo inspect docker://alpine:3.18@sha256:abababababababababababababababab|mysql -u root db|mysqldump --single-transaction db|redis-cli -h host ping|login root
curl -s http://h:9090/api/v1/query?query=up|java -Xmx512m -jar app.jar|python3 -m http.server 8000|sleep 1000|sh -c true|[ -f /etc/passwd ]
getent passwd root|chage -l bob|pwd|bash -c pwd|find / -name *.key|app --auth basic|app --auth=none|app --auth-type bearer --x|curl -b jar.txt http://h
app --cookie-jar c.txt|app --session 12|app --color=auto|nginx -g daemon|kubectl get secrets -A|kubectl get secret foo -o yaml|app --image-pull-secret regcred
pip install pypi-simple|npm run build|npm install npm_and_x|app sk-learn|docker pull ghcr.io/o/secret:1.2|docker pull r/auth:v2|app --tokenizer bert
ls /tmp/eyJ.d/x|app eyJhb.json|app key-1234|app --compass n|app --spin 3|date +%s|grep -r TODO .|app --require-password --x|postgres -D /data
app ws://host:3000/x|app tcp://0.0.0.0:2375|app http://[::1]:80/|app file:///etc/x|mongod --auth --port 27017|redis-server *:6379|app a@b.c
wget -q -O - http://h/x.tar.gz|apt-get install passwd|dpkg -L libpam-passwdqc|man passwd|app --psk-file f|app --access-key-file f|app 10.0.0.1:8080
""".strip().splitlines()
    for entry in line.split("|")
)
