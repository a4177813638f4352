r"""Secrets in the shapes that real systems send, written without a look at the rules: three sets, each measured when new.

A case is where it stands, its media type, and the text; ``<<x>>`` is a secret of the kind x, drawn from a seed:
``w`` a word with a digit, as people choose passwords; ``p`` with punctuation; ``m`` made up, as Gafomi27!; ``s`` four words; ``l`` letters alone; ``kN`` letters and
digits, ``uN`` upper case ones, ``hN`` hex, ``dN`` digits, ``bN`` base64 of N bytes; ``[[b64 …]]`` is encoded whole.
Places: ``body`` of the answer, ``sent`` in the request, ``target``, ``head`` and ``answer`` (lines of the heads),
``turn`` and ``reply`` (no HTTP). docs/redaction.md has the figures.
"""

# ruff: noqa: E501 — a line is what a system sends
from __future__ import annotations

import base64
import random
import re
import string
from dataclasses import dataclass

ALNUM = string.ascii_letters + string.digits
LETTERS = "bcdfghjklmnpqrstvwxz"
J, F, X, H, Y, T, C = (
    "application/json",
    "application/x-www-form-urlencoded",
    "text/xml",
    "text/html",
    "application/yaml",
    "text/plain",
    "text/csv",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    place: str
    kind: str
    text: str
    secrets: tuple[str, ...]


def drawn(dice: random.Random, kind: str) -> str:
    size = int(kind[1:] or 0)
    match kind[0]:
        case "w":
            letters = dice.choices(LETTERS, k=dice.randint(8, 13))
            letters[dice.randrange(3, len(letters))] = dice.choice(string.digits)
            return "".join(letters)
        case "p":
            letters = dice.choices(ALNUM, k=dice.randint(8, 13))
            letters[dice.randrange(2, len(letters) - 1)] = dice.choice("!.-_*~^")
            return "".join(letters) + dice.choice(string.digits)
        case "m":  # as people make them up
            word = "".join(dice.choice(("bcdfghklmnprst", "aeiou")[n % 2]) for n in range(dice.randint(5, 8)))
            return word.capitalize() + str(dice.randint(10, 2999)) + dice.choice(["!", "", "", "#", "?", "$"])
        case "s":  # words
            return " ".join(
                "".join(dice.choice(("bcdfghklmnprst", "aeiou")[n % 2]) for n in range(6)) for _ in range(4)
            )
        case "l":
            return "".join(dice.choices(LETTERS, k=11))
        case "k":
            return "".join(dice.choices(ALNUM, k=size))
        case "u":
            return "".join(dice.choices(string.ascii_uppercase + "234567", k=size))
        case "h":
            return "".join(dice.choices("0123456789abcdef", k=size))
        case "d":
            return dice.choice("123456789") + "".join(dice.choices(string.digits, k=size - 1))
        case "b":
            return base64.b64encode(dice.randbytes(size)).decode()
    raise ValueError(kind)


def case(number: int, place: str, kind: str, template: str) -> Case:
    dice = random.Random(f"{number} {template}")
    secrets: list[str] = []

    def draw(match: re.Match[str]) -> str:
        secrets.append(drawn(dice, match[1]))
        return secrets[-1]

    text = re.sub(r"<<(\w+)>>", draw, template)
    text = re.sub(r"\[\[b64 (.*?)\]\]", lambda match: base64.b64encode(match[1].encode()).decode(), text, flags=re.S)
    return Case(place, kind, text, tuple(secrets))


A = [
    # configurations that services show
    ("body", J, '{"activeProfiles":["prod"],"propertySources":[{"name":"systemEnvironment","properties":{"SPRING_DATASOURCE_PASSWORD":{"value":"<<p>>","origin":"System Environment Property"},"STRIPE_WEBHOOK":{"value":"whsec_<<k32>>"}}}]}'),
    ("body", J, '{"property":{"source":"applicationConfig","value":"<<w>>"},"activeProfiles":[],"name":"spring.mail.password"}'),
    ("body", H, '<tr><td class="e">$_SERVER[\'DB_PASSWORD\']</td><td class="v"><<w>></td></tr>\n<tr><td class="e">mysqli.default_pw</td><td class="v"><<w>></td><td class="v"><i>no value</i></td></tr>'),
    ("body", J, '{"auths":{"https://index.docker.io/v1/":{"auth":"[[b64 deploy:<<p>>]]","email":"ops@firm.example"}},"credsStore":""}'),
    ("body", T, "//registry.npmjs.org/:_authToken=npm_<<k36>>\nregistry=https://registry.npmjs.org/\nalways-auth=true\n"),
    ("body", T, "[distutils]\nindex-servers = pypi\n\n[pypi]\nusername = __token__\npassword = <<k40>>\n"),
    ("body", T, "machine api.heroku.com\n  login ops@firm.example\n  password <<h36>>\nmachine git.heroku.com login x password <<w>>\n"),
    ("body", J, '{"version":4,"terraform_version":"1.6.2","resources":[{"mode":"managed","type":"random_password","name":"db","instances":[{"attributes":{"bcrypt_hash":"$2a$10$<<k53>>","id":"none","length":20,"result":"<<p>>"},"sensitive_attributes":[]}]}]}'),
    ("body", J, '{"resources":[{"type":"aws_db_instance","instances":[{"attributes":{"address":"db.eu.example","username":"root","password":"<<w>>","port":5432}}]},{"type":"tls_private_key","instances":[{"attributes":{"algorithm":"RSA","private_key_pem":"-----BEGIN RSA PRIVATE KEY-----\\n<<b200>>\\n-----END RSA PRIVATE KEY-----\\n"}}]}]}'),
    ("body", Y, "ansible_user: deploy\nansible_ssh_pass: <<w>>\nansible_become_password: '<<p>>'\nvault_db_root: \"<<w>>\"\n"),
    ("body", T, "db1 ansible_host=10.0.0.4 ansible_user=root ansible_password=<<w>> ansible_port=22\n"),
    ("body", Y, "apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\ntype: Opaque\nstringData:\n  url: amqp://app:<<w>>@mq:5672/\n  seed: <<l>>\n"),
    ("body", Y, "users:\n- name: admin\n  user:\n    client-key-data: [[b64 -----BEGIN EC PRIVATE KEY-----\n<<b90>>\n-----END EC PRIVATE KEY-----]]\n    token: <<k40>>\n"),
    ("body", J, '{"apiVersion":"v1","kind":"ConfigMap","data":{"app.properties":"spring.redis.password=<<w>>\\nserver.port=8080\\n","kubeconfig":"[[b64 apiVersion: v1\nusers:\n- name: a\n  user:\n    password: <<w>>\n]]"}}'),
    ("body", T, '[database]\nhost = "db"\nserver = "192.168.1.1"\nconn = """Server=db;Database=shop;User Id=sa;Password=<<w>>;Encrypt=yes"""\n[smtp]\npasswd = \'\'\'<<p>>\'\'\'\n'),
    ("body", T, "snmp-server community <<w>> RO\nsnmp-server host 10.1.1.1 version 2c <<w>>\nenable secret 5 $1$<<k8>>$<<k22>>\nusername admin privilege 15 password 7 <<h20>>\n"),
    ("body", T, "com2sec readonly default <<w>>\nrocommunity <<w>> 10.0.0.0/8\ncreateUser bob SHA \"<<p>>\" AES \"<<p>>\"\n"),
    ("body", X, '<?xml version="1.0"?><settings><servers><server><id>nexus</id><username>ci</username><password><<p>></password></server></servers></settings>'),
    ("body", X, '<configuration><connectionStrings><add name="Shop" connectionString="Data Source=db;User ID=sa;Password=<<p>>;MultipleActiveResultSets=True" providerName="System.Data.SqlClient"/></connectionStrings><appSettings><add key="SmtpPwd" value="<<w>>"/><add key="PageSize" value="20"/></appSettings><machineKey validationKey="<<h64>>" decryptionKey="<<h48>>"/></configuration>'),
    ("body", X, '<Resource name="jdbc/shop" auth="Container" type="javax.sql.DataSource" username="shop" password="<<w>>" url="jdbc:mysql://db:3306/shop"/><user username="tomcat" password="<<w>>" roles="manager-gui"/>'),
    ("body", X, '<plist version="1.0"><dict><key>EAPClientConfiguration</key><dict><key>UserName</key><string>eva</string><key>UserPassword</key><string><<w>></string></dict><key>Password</key><data>[[b64 <<p>>]]</data><key>PayloadContent</key><data>[[b64 password=<<w>>]]</data></dict></plist>'),
    ("body", T, "<?php\ndefine('DB_NAME', 'wp');\ndefine('DB_PASSWORD', '<<p>>');\ndefine('AUTH_KEY',         '<<k64>>');\ndefine('NONCE_SALT',       '<<k64>>');\n$pdo = new PDO('mysql:host=db;dbname=shop', 'shop', '<<w>>');\n"),
    ("body", T, 'conn = psycopg2.connect(host="db", dbname="shop", user="shop", password="<<w>>")\n$link = mysqli_connect("localhost", "root", "<<w>>", "shop");\nDriverManager.getConnection("jdbc:oracle:thin:@db:1521:XE", "scott", "<<w>>");\n'),
    ("body", J, '{"ConnectionStrings":{"Default":"Host=db;Port=5432;Username=app;Password=<<p>>;Pooling=true","Cache":"cache.eu.example:6380,password=<<b32>>,ssl=True,abortConnect=False","Storage":"DefaultEndpointsProtocol=https;AccountName=shop;AccountKey=<<b64>>;EndpointSuffix=core.windows.net","Bus":"Endpoint=sb://x.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey=<<b32>>"}}'),
    # cloud metadata
    ("body", J, '{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"ASIA<<u16>>","SecretAccessKey":"<<k40>>","Token":"IQoJb3JpZ2luX2Vj<<k80>>","Expiration":"2026-11-27T03:00:00Z"}'),
    ("body", J, '{"access_token":"ya29.<<k60>>","expires_in":3599,"token_type":"Bearer"}'),
    ("body", T, "#cloud-config\nchpasswd:\n  list: |\n    root:<<w>>\n    ubuntu:<<w>>\n  expire: false\nssh_pwauth: true\n"),
    ("body", T, "#!/bin/bash\nexport DB_PASS='<<p>>'\ncurl -s -H 'X-Auth-Key: <<h37>>' https://api.cloudflare.com/client/v4/zones\naws configure set aws_secret_access_key <<k40>>\n"),
    ("body", X, '<CreateAccessKeyResponse><CreateAccessKeyResult><AccessKey><UserName>Bob</UserName><AccessKeyId>AKIA<<u16>></AccessKeyId><SecretAccessKey><<k40>></SecretAccessKey></AccessKey></CreateAccessKeyResult></CreateAccessKeyResponse>'),
    ("body", X, '<AssumeRoleResult><Credentials><SessionToken><<k90>></SessionToken><SecretAccessKey><<k40>></SecretAccessKey></Credentials></AssumeRoleResult>'),
    # signed addresses
    ("target", "", "/bucket/report.pdf?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA<<u16>>%2F20261126%2Feu%2Fs3%2Faws4_request&X-Amz-Date=20261126T101112Z&X-Amz-Expires=300&X-Amz-SignedHeaders=host&X-Amz-Signature=<<h64>>"),
    ("target", "", "/container/a.csv?sv=2022-11-02&st=2026-11-26&se=2026-11-27&sr=b&sp=r&sig=<<k43>>%3D"),
    ("body", J, '{"url":"https://cdn.example/v/12.mp4?Expires=1796000000&Signature=<<k60>>~&Key-Pair-Id=K2JCJMDEHXQW5F","thumb":"https://img.example/a.jpg?w=200&s=<<h32>>"}'),
    ("body", J, '{"upload_url":"https://storage.googleapis.com/b/o?GoogleAccessId=svc@p.iam.example&Expires=1796000000&Signature=<<k50>>%2B"}'),
    ("body", J, '{"error":"AccessDenied","message":"Signature mismatch","StringToSign":"GET\\n/x","SignatureProvided":"<<b20>>"}'),
    # sessions and logins
    ("head", "", "Cookie: JSESSIONID=<<h32>>; theme=dark; remember_me=<<b30>>; _ga=GA1.2.1.2"),
    ("answer", "", "Set-Cookie: laravel_session=eyJpdiI6I<<k80>>%3D; expires=Thu, 26-Nov-2026 12:00:00 GMT; path=/; httponly"),
    ("answer", "", "Set-Cookie: connect.sid=s%3A<<k32>>.<<k43>>; Path=/; HttpOnly"),
    ("head", "", "Authorization: AWS4-HMAC-SHA256 Credential=AKIA<<u16>>/20261126/eu/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=<<h64>>"),
    ("head", "", 'Authorization: Digest username="eva", realm="shop", nonce="<<h32>>", uri="/a", response="<<h32>>", opaque="<<h32>>", qop=auth, nc=00000001, cnonce="<<h8>>"'),
    ("head", "", 'Authorization: OAuth oauth_consumer_key="<<k25>>", oauth_token="<<k50>>", oauth_signature_method="HMAC-SHA1", oauth_signature="<<k28>>%3D", oauth_timestamp="1796000000", oauth_nonce="<<k32>>", oauth_version="1.0"'),
    ("head", "", "X-Shopify-Access-Token: shpat_<<h32>>"),
    ("head", "", "X-Vault-Token: hvs.<<k90>>"),
    ("head", "", "PRIVATE-TOKEN: <<k20>>"),
    ("head", "", "Jenkins-Crumb: <<h64>>"),
    ("head", "", "Ocp-Apim-Subscription-Key: <<h32>>"),
    ("head", "", "X-Hub-Signature-256: sha256=<<h64>>"),
    ("head", "", "Stripe-Signature: t=1796000000,v1=<<h64>>"),
    ("head", "", "Referer: https://shop.example/account/reset?uid=77&tk=<<k28>>"),
    ("answer", "", "Location: https://app.example/cb#access_token=<<k40>>&token_type=bearer&expires_in=3600"),
    ("answer", "", "Location: https://app.example/auth/callback?code=<<k30>>&state=<<k16>>&session_state=<<h36>>"),
    ("sent", F, "grant_type=authorization_code&client_id=web&client_secret=<<k32>>&code=<<k40>>&code_verifier=<<k64>>&redirect_uri=https%3A%2F%2Fapp.example%2Fcb"),
    ("sent", F, "grant_type=password&username=eva&password=<<p>>&scope=openid"),
    ("sent", F, "j_username=eva&j_password=<<w>>&_csrf=<<h36>>&remember=on"),
    ("sent", F, "authenticity_token=<<k64>>%3D%3D&user%5Bemail%5D=eva%40firm.example&user%5Bpassword%5D=<<w>>&user%5Bpassword_confirmation%5D=<<w>>"),
    ("sent", F, "log=admin&pwd=<<w>>&wp-submit=Log+In&testcookie=1"),
    ("body", J, '{"id_token":"eyJhbGciOiJSUzI1NiJ9.<<k80>>.<<k80>>","refresh_token":"<<k40>>","session_state":"<<h36>>","not-before-policy":0}'),
    ("body", J, '{"device_code":"<<k40>>","user_code":"<<u4>>-<<u4>>","verification_uri":"https://x.example/device","interval":5}'),
    ("body", H, '<form method="post" action="https://sp.example/acs"><input type="hidden" name="SAMLResponse" value="<<b120>>"/><input type="hidden" name="RelayState" value="<<k24>>"/></form>'),
    ("body", X, '<samlp:Response><saml:Assertion><ds:SignatureValue><<b120>></ds:SignatureValue><saml:Subject><saml:NameID>eva@firm.example</saml:NameID></saml:Subject></saml:Assertion></samlp:Response>'),
    ("body", H, '<meta name="csrf-token" content="<<k86>>"><script>window.__ENV={"API_KEY":"<<k32>>","region":"eu"};var csrf = \'<<k32>>\';</script>'),
    ("sent", J, '{"operationName":"Login","query":"mutation Login($e: String!, $p: String!) { login(email: $e, password: $p) { token } }","variables":{"e":"eva@firm.example","p":"<<w>>"}}'),
    ("sent", J, '{"query":"mutation { signIn(input: {email: \\"eva@firm.example\\", password: \\"<<w>>\\"}) { jwt } }"}'),
    ("sent", J, '{"jsonrpc":"2.0","id":1,"method":"personal_unlockAccount","params":["0x8f3cf7ad23cd3cadbd9735aff958023239c6a063","<<w>>",600]}'),
    ("sent", J, '{"jsonrpc":"1.0","id":"w","method":"walletpassphrase","params":["<<w>>",60]}'),
    # second factors
    ("body", J, '{"otpauth_url":"otpauth://totp/Shop:eva?secret=<<u32>>&issuer=Shop&digits=6","recovery_codes":["<<h5>>-<<h5>>","<<h5>>-<<h5>>"],"qr":"data:image/png;base64,iVBORw0KGgo="}'),
    ("body", T, "Your recovery codes:\n\n<<k4>>-<<k4>>-<<k4>>\n<<k4>>-<<k4>>-<<k4>>\n\nKeep them safe.\n"),
    ("sent", J, '{"question":"First pet?","answer":"<<l>>"}'),
    ("sent", J, '{"securityQuestions":[{"questionId":3,"answerText":"<<l>>"}],"totp":"<<d6>>"}'),
    ("body", H, '<p>Hi Eva,</p><p>Click <a href="https://app.example/login/magic/<<k32>>?next=%2F">here</a> or enter <b><<d6>></b> as your one-time code.</p>'),
    ("body", J, '{"to":"+49151000000","body":"Your Shop verification code is: <<d6>>. Don\'t share it."}'),
    # SaaS
    ("sent", J, '{"routing_key":"<<h32>>","event_action":"trigger","payload":{"summary":"disk full","severity":"critical","source":"db1"}}'),
    ("sent", F, "token=<<k30>>&user=<<k30>>&message=disk+full"),
    ("sent", J, '{"genieKey":"<<h36>>","user_key":"<<k30>>","crumb":"<<h32>>","resume_key":"<<k22>>"}'),
    ("target", "", "/services/T0AB2C3D4/B0EF5G6H7/<<k24>>"),
    ("target", "", "/bot<<d9>>:AA<<k33>>/sendMessage?chat_id=7"),
    ("target", "", "/maps/api/geocode/json?address=Berlin&key=AIza<<k35>>"),
    ("target", "", "/data/2.5/weather?q=Berlin&appid=<<h32>>&units=metric"),
    ("target", "", "/api/v1/me?api_token=<<k40>>&page=2"),
    ("target", "", "/unsubscribe/<<k32>>/confirm"),
    ("target", "", "/ws?EIO=4&transport=websocket&sid=<<k20>>"),
    # databases' and mail servers' words
    ("body", J, '{"error":"SQLSTATE[HY000] [1045] Access denied, dsn=mysql://shop:<<w>>@db:3306/shop?charset=utf8"}'),
    ("body", T, 'OperationalError: (psycopg2.OperationalError) connection to "postgresql+asyncpg://app:<<p>>@db/shop" failed\n'),
    ("body", T, "Traceback:\n  File \"a.py\", line 3, in f\n    login(user='eva', passwd='<<w>>')\nValueError: bad secret '<<w>>' for eva\n"),
    ("turn", "", "*3\r\n$4\r\nAUTH\r\n$3\r\napp\r\n$12\r\n<<k12>>\r\n"),
    ("turn", "", "a1 LOGIN eva <<w>>\r\n"),
    ("turn", "", "AUTH PLAIN [[b64 \0eva\0<<w>>]]\r\n"),
    ("body", T, "dn: uid=eva,dc=firm\nuserPassword:: [[b64 {SSHA}<<k32>>]]\nsambaNTPassword: <<h32>>\n"),
    ("body", T, "ldap_bind: simple bind cn=admin,dc=firm with password <<w>> failed: Invalid credentials (49)\n"),
    # logs of builds
    ("body", T, "2026-11-26T10:00:01Z ##[command]docker login -u ci -p <<p>> registry.example\n+ helm upgrade shop ./c --set db.password=<<w>> --set image.tag=1.4\n+ mysqldump -uroot -p<<w>> shop\n"),
    ("body", T, "Initial admin password: <<h32>>\nJenkins initial setup is required. Please use the following password to proceed to installation:\n\n<<h32>>\n\nThis may also be found at: /var/jenkins_home\n"),
    ("body", T, 'time="2026-11-26" level=info msg="join with: kubeadm join 10.0.0.1:6443 --token <<k6>>.<<k16>> --discovery-token-ca-cert-hash sha256:<<h64>>"\n'),
    ("body", C, "id,login,pwd_hash,api token\n1,eva,$2y$10$<<k53>>,<<k24>>\n2,bob,,<<k24>>\n"),
]  # fmt: skip

B = [
    # configuration and state, other systems
    ("body", J, '{"services":{"db":{"image":"postgres:16","environment":["POSTGRES_USER=shop","POSTGRES_PASSWORD=<<w>>","PGDATA=/var/lib"],"command":["postgres","-c","ssl=on"]}}}'),
    ("body", J, '{"Config":{"Env":["PATH=/usr/bin","RABBITMQ_DEFAULT_PASS=<<p>>","SENTRY_DSN=https://<<h32>>@o1.ingest.sentry.io/12"],"Cmd":["redis-server","--requirepass","<<w>>"]}}'),
    ("body", J, '{"containerDefinitions":[{"name":"web","environment":[{"name":"RAILS_MASTER_KEY","value":"<<h32>>"},{"name":"PORT","value":"3000"}]}]}'),
    ("body", J, '{"spec":{"containers":[{"name":"a","env":[{"name":"MYSQL_ROOT_PASSWORD","value":"<<w>>"},{"name":"LOG_LEVEL","value":"info"}],"args":["--db-password=<<p>>","--port=80"]}]}}'),
    ("body", Y, "version: '3'\nservices:\n  app:\n    environment:\n      - DJANGO_SECRET_KEY=<<k50>>\n      DATABASE_URL: mysql2://root:<<w>>@db/shop\n"),
    ("body", Y, "global:\n  smtp_auth_username: alert\n  smtp_auth_password: <<p>>\n  slack_api_url: https://hooks.slack.com/services/T<<u8>>/B<<u8>>/<<k24>>\nreceivers:\n- name: pd\n  pagerduty_configs:\n  - service_key: <<h32>>\n"),
    ("body", Y, "production:\n  secret_key_base: <<h64>>\n  adapter: postgresql\n  password: >-\n    <<p>>\n"),
    ("body", Y, "scrape_configs:\n- job_name: a\n  basic_auth:\n    username: p\n    password: <<w>>\n- job_name: b\n  authorization:\n    credentials: <<k32>>\n"),
    ("body", T, "[mysqld]\nport=3306\n[client]\nuser=root\npassword=<<w>>\n[wan]\npsk=<<p>>\nppp-password = \"<<w>>\"\n"),
    ("body", T, "requirepass <<w>>\nmasterauth <<p>>\nuser app on >\u200b<<w>> ~* +@all\nmaxmemory 100mb\n".replace("\u200b", "")),
    ("body", T, "interface Tunnel0\n ip ospf authentication-key <<w>>\n crypto isakmp key <<p>> address 10.1.1.1\n ppp chap password 0 <<w>>\n tacacs-server key 7 <<h16>>\n neighbor 10.0.0.2 password <<w>>\n"),
    ("body", T, "set system root-authentication encrypted-password \"$6$<<k8>>$<<k80>>\"\nset snmp community <<w>> authorization read-only\nset system radius-server 10.0.0.1 secret \"$9$<<k20>>\"\n"),
    ("body", T, 'network={\n\tssid="home"\n\tpsk="<<p>>"\n\tkey_mgmt=WPA-PSK\n}\nwpa_passphrase=<<w>>\n'),
    ("body", T, "[Interface]\nPrivateKey = <<b32>>\nAddress = 10.8.0.2/24\n[Peer]\nPublicKey = HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=\nPresharedKey = <<b32>>\n"),
    ("body", T, ": PSK \"<<w>>\"\neva : EAP \"<<p>>\"\n10.0.0.1 10.0.0.2 : PSK <<k20>>\n"),
    ("body", T, "rpcuser=bitcoin\nrpcpassword=<<k32>>\nserver=1\ntestnet=0\n"),
    ("body", T, "resource \"aws_db_instance\" \"main\" {\n  username = \"root\"\n  password = \"<<p>>\"\n}\nprovider \"datadog\" {\n  api_key = \"<<h32>>\"\n  app_key = \"<<h40>>\"\n}\n"),
    ("body", J, '{"type":"service_account","project_id":"p","private_key_id":"<<h40>>","private_key":"-----BEGIN PRIVATE KEY-----\\n<<b300>>\\n-----END PRIVATE KEY-----\\n","client_email":"svc@p.iam.gserviceaccount.example"}'),
    ("body", J, '{"kty":"RSA","kid":"2026-11","n":"AQAB","e":"AQAB","d":"<<k86>>","p":"<<k43>>"}'),
    ("body", J, '{"kind":"Secret","apiVersion":"v1","metadata":{"name":"tls"},"data":{"tls.key":"<<b60>>","username":"<<b6>>"}}'),
    ("body", J, '{"request_id":"x","lease_duration":2764800,"data":{"data":{"zone":"<<w>>"},"metadata":{"version":1}},"auth":null}'),
    ("body", J, '{"ARN":"arn:aws:secretsmanager:eu:1:secret:db","Name":"db","SecretString":"{\\"username\\":\\"root\\",\\"password\\":\\"<<p>>\\",\\"host\\":\\"db\\"}"}'),
    ("body", J, '{"Parameter":{"Name":"/prod/db/pass","Type":"SecureString","Value":"<<w>>","Version":2}}'),
    ("body", J, '[{"CreateIndex":1,"Key":"config/db/password","Flags":0,"Value":"[[b64 <<p>>]]"}]'),
    ("body", J, '{"kvs":[{"key":"L2RiL3Bhc3M=","create_revision":"2","value":"[[b64 {"password":"<<w>>"}]]"}]}'),
    ("body", J, '{"total":1,"items":[{"keyName":"smtpPassword","keyValue":"<<w>>"},{"settingKey":"api-secret","settingValue":"<<k24>>"},{"k":"db_passwd","v":"<<w>>"}]}'),
    ("body", J, '{"fields":[{"label":"password","type":"CONCEALED","value":"<<p>>"},{"label":"notes","type":"STRING","value":"x"}],"login":{"uris":[],"username":"e","password":"<<w>>","totp":"<<u16>>"}}'),
    ("body", X, '<hudson.util.Secret><<b32>></hudson.util.Secret><com.cloudbees.plugins.credentials.impl.UsernamePasswordCredentialsImpl><id>git</id><username>ci</username><password>{<<b48>>}</password></com.cloudbees.plugins.credentials.impl.UsernamePasswordCredentialsImpl>'),
    ("body", X, '<beans><bean id="ds"><property name="username" value="sa"/><property name="password" value="<<w>>"/><property name="jdbcPassword"><value><<w>></value></property></bean></beans>'),
    ("body", X, "<config><crypt><key><![CDATA[<<h32>>]]></key></crypt><db><password><![CDATA[<<p>>]]></password></db></config>"),
    ("body", X, '<WLANProfile><sharedKey><keyType>passPhrase</keyType><protected>false</protected><keyMaterial><<w>></keyMaterial></sharedKey></WLANProfile>'),
    ("body", X, '<AutoLogon><Password><Value><<w>></Value><PlainText>true</PlainText></Password><Username>admin</Username></AutoLogon><ProductKey><<u5>>-<<u5>>-<<u5>>-<<u5>>-<<u5>></ProductKey>'),
    ("body", X, '<soap:Envelope><soap:Header><wsse:Security><wsse:UsernameToken><wsse:Username>eva</wsse:Username><wsse:Password Type="...#PasswordText"><<p>></wsse:Password><wsse:Nonce><<b16>></wsse:Nonce></wsse:UsernameToken></wsse:Security></soap:Header></soap:Envelope>'),
    ("sent", X, '<s:Envelope><s:Body><login xmlns="urn:partner.soap"><username>e@firm.example</username><password><<w>></password></login></s:Body></s:Envelope>'),
    ("body", X, "<loginResponse><result><serverUrl>https://x</serverUrl><sessionId>00D<<k12>>!<<k80>></sessionId><userId>005</userId></result></loginResponse>"),
    # headers
    ("head", "", "X-Api-Key: <<k32>>"),
    ("head", "", "Api-Token: <<h40>>"),
    ("head", "", "X-Auth-Token: gAAAAAB<<k80>>"),
    ("head", "", "X-CSRFToken: <<k64>>"),
    ("head", "", "DD-API-KEY: <<h32>>"),
    ("head", "", "X-Figma-Token: <<k40>>"),
    ("head", "", "X-Amz-Security-Token: IQoJ<<k90>>"),
    ("head", "", "X-Plex-Token: <<k20>>"),
    ("head", "", "Proxy-Authorization: Basic [[b64 eva:<<w>>]]"),
    ("head", "", "Authorization: Token token=<<h32>>, email=eva"),
    ("head", "", "Authorization: GenieKey <<h36>>"),
    ("head", "", "Authorization: Splunk <<h36>>"),
    ("head", "", "Authorization: SharedAccessSignature sr=x&sig=<<b32>>&se=1796000000&skn=root"),
    ("head", "", "Sec-WebSocket-Protocol: graphql-ws, bearer.<<k60>>"),
    ("head", "", "Cookie: PHPSESSID=<<k26>>; wordpress_logged_in_<<h32>>=eva%7C1796000000%7C<<k43>>%7C<<h64>>; lang=de"),
    ("head", "", "Cookie: ASP.NET_SessionId=<<k24>>; .ASPXAUTH=<<h80>>; cf_clearance=<<k40>>"),
    ("head", "", "DPoP: eyJ0eXAiOiJkcG9wK2p3dCJ9.<<k80>>.<<k80>>"),
    ("head", "", "X-Twilio-Signature: <<b20>>"),
    ("head", "", "X-Goog-Channel-Token: <<k24>>"),
    ("head", "", "X-Registry-Auth: [[b64 {\"username\":\"ci\",\"password\":\"<<w>>\"}]]"),
    ("answer", "", "X-Subject-Token: <<h32>>"),
    ("answer", "", "Location: /password/edit?reset_password_token=<<k20>>"),
    ("answer", "", "Location: https://idp.example/saml?SAMLRequest=<<k80>>&RelayState=<<k20>>&SigAlg=x&Signature=<<k60>>"),
    ("answer", "", "Link: <https://api.example/items?page=2&access_token=<<k40>>>; rel=\"next\""),
    ("answer", "", "Refresh: 0; url=/verify-email/<<k40>>"),
    ("answer", "", "Authentication-Info: nextnonce=\"<<h32>>\", rspauth=\"<<h32>>\""),
    # addresses
    ("target", "", "/oauth/authorize?response_type=code&client_id=web&redirect_uri=https%3A%2F%2Fx.example%2Fcb%3Ftoken%3D<<k24>>&nonce=<<k16>>&code_challenge=<<k43>>"),
    ("target", "", "/api/webhooks/846672038297381743/<<k68>>"),
    ("target", "", "/webhook/incoming?hook_secret=<<w>>"),
    ("target", "", "/invite/<<k22>>"),
    ("target", "", "/accounts/confirm-email/MQ:<<k6>>:<<k43>>/"),
    ("target", "", "/reset/MTI/<<k6>>-<<h32>>/"),
    ("target", "", "/rest/api?user=eva&pass=<<w>>&cmd=list"),
    ("target", "", "/share/d/<<k33>>/edit?usp=sharing&resourcekey=0-<<k22>>"),
    ("target", "", "/calendar/ical/eva/private-<<h32>>/basic.ics"),
    ("target", "", "/feed.rss?auth=<<h40>>"),
    ("target", "", "/player_api.php?username=eva&password=<<w>>&action=get"),
    ("target", "", "/socket.io/?token=<<k30>>&EIO=4"),
    ("target", "", "/api?apikey=<<w>>&module=account&action=balance"),
    ("target", "", "/j/8812345678?pwd=<<k32>>"),
    ("target", "", "/login?ticket=ST-12-<<k20>>-cas"),
    # messages, sentences
    ("sent", J, '{"text":"hey, the wifi password is <<w>> and the door code is <<d4>>"}'),
    ("sent", J, '{"messages":[{"role":"user","content":"why does this fail? client = OpenAI(api_key=\'sk-proj-<<k40>>\')"}]}'),
    ("sent", J, '{"messages":[{"role":"user","content":"my login is eva / <<p>> can you check"},{"role":"user","content":"username: eva\\npw: <<w>>"}]}'),
    ("body", J, '{"choices":[{"message":{"role":"assistant","tool_calls":[{"function":{"name":"login","arguments":"{\\"user\\": \\"eva\\", \\"password\\": \\"<<w>>\\"}"}}]}}]}'),
    ("body", J, '{"message":"Invalid API key provided: <<k32>>"}'),
    ("body", J, '{"error":"token <<k28>> has expired"}'),
    ("body", J, '{"errors":[{"field":"password","rejectedValue":"<<w>>","message":"too short"}]}'),
    ("body", J, '{"detail":[{"loc":["body","password"],"msg":"too short","input":"<<w>>"}]}'),
    ("body", J, '{"type":"secret","payload":"<<w>>"}'),
    ("body", J, '{"email":"eva@firm.example","subject":"Welcome","text":"Your temporary password: <<w>>\\nPlease change it."}'),
    ("body", T, "panic: dial tcp: redis://:<<w>>@cache:6379/0: connection refused\n"),
    ("body", T, "ERROR 1045 (28000): mysql --user=root --password=<<w>> --host=db failed\nPGPASSWORD=<<p>> psql -h db\nsshpass -p <<w>> ssh root@h\ncurl -u eva:<<p>> https://x\n"),
    ("body", T, "10.0.0.1 - - [26/Nov/2026:10:00:01 +0000] \"GET /a?access_token=<<k32>> HTTP/1.1\" 200 12 \"https://x.example/?sid=<<k24>>\" \"curl\"\n"),
    ("body", T, "DEBUG auth - Authenticating eva with credentials [PROTECTED], secret=<<w>>, UsernamePasswordToken(user=eva, password=<<w>>)\n"),
    ("body", T, '{"level":"debug","msg":"request","headers":{"authorization":["Bearer <<k40>>"],"x-request-id":["a"]}}\n{"level":"info","msg":"env","DB_PASSWD":"<<w>>"}\n'),
    ("body", T, "CREATE USER 'app'@'%' IDENTIFIED BY '<<p>>';\nALTER ROLE app WITH ENCRYPTED PASSWORD '<<w>>';\nINSERT INTO users (id, login, password_digest) VALUES (1, 'eva', '<<k30>>');\nSET PASSWORD FOR 'x' = PASSWORD('<<w>>');\n"),
    ("body", T, "UPDATE users SET password = '<<w>>', updated_at = now() WHERE id = 4;\nSELECT * FROM sessions WHERE token = '<<k32>>';\n"),
    # wires
    ("turn", "", "*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$3\r\napp\r\n$14\r\n<<k14>>\r\n"),
    ("turn", "", "*4\r\n$6\r\nCONFIG\r\n$3\r\nSET\r\n$10\r\nmasterauth\r\n$10\r\n<<k10>>\r\n"),
    ("turn", "", "*3\r\n$3\r\nSET\r\n$12\r\nsess:token:7\r\n$32\r\n<<h32>>\r\n"),
    ("turn", "", "*4\r\n$4\r\nHSET\r\n$6\r\nuser:7\r\n$8\r\npassword\r\n$10\r\n<<k10>>\r\n"),
    ("turn", "", "REGISTER sip:firm.example SIP/2.0\r\nAuthorization: Digest username=\"eva\", realm=\"x\", nonce=\"<<h16>>\", uri=\"sip:x\", response=\"<<h32>>\"\r\n\r\n"),
    ("turn", "", "DESCRIBE rtsp://admin:<<w>>@10.0.0.9/ch1 RTSP/1.0\r\nCSeq: 2\r\nAuthorization: Basic [[b64 admin:<<p>>]]\r\n\r\n"),
    ("turn", "", "EHLO x\r\nAUTH LOGIN\r\n[[b64 eva]]\r\n[[b64 <<p>>]]\r\n"),
    ("turn", "", "USER eva\r\nPASS <<w>>\r\n"),
    ("turn", "", "CONNECT\nlogin:eva\npasscode:<<w>>\naccept-version:1.2\n\n\x00\n"),
    ("turn", "", "CONNECT {\"verbose\":false,\"user\":\"app\",\"pass\":\"<<w>>\",\"auth_token\":\"<<k20>>\"}\r\nPING\r\n"),
    ("turn", "", "PASS <<w>>\r\nNICK eva\r\nPRIVMSG NickServ :IDENTIFY <<w>>\r\n"),
]  # fmt: skip

C_ = [
    # answers of APIs
    ("body", J, '{"id":"whk_1","object":"webhook_endpoint","secret":"whsec_<<k32>>","status":"enabled","url":"https://x.example/h"}'),
    ("body", J, '{"id":"pi_3Mt","object":"payment_intent","amount":2000,"client_secret":"pi_3Mt_secret_<<k24>>","livemode":true}'),
    ("body", J, '{"ok":true,"access_token":"xoxb-<<d12>>-<<d12>>-<<k24>>","incoming_webhook":{"url":"https://hooks.slack.com/services/T<<u8>>/B<<u8>>/<<k24>>"}}'),
    ("body", J, '{"token":"ghs_<<k36>>","expires_at":"2026-11-26T12:00:00Z","permissions":{"contents":"read"}}'),
    ("body", J, '{"key":"AIza<<k35>>","localId":"x","idToken":"eyJhbGciOiJSUzI1NiJ9.<<k60>>.<<k60>>"}'),
    ("body", J, '{"accessJwt":"eyJ0eXAiOiJhdCJ9.<<k60>>.<<k43>>","refreshJwt":"eyJ0eXAiOiJydCJ9.<<k60>>.<<k43>>","handle":"eva"}'),
    ("body", J, '{"home_server":"m.example","access_token":"syt_<<k40>>","device_id":"GHTYAJCE"}'),
    ("body", J, '{"sid":"SK<<h32>>","secret":"<<k32>>","friendly_name":"ci"}'),
    ("body", J, '{"AccountSid":"AC1","AuthToken":"<<h32>>","Pin":"<<d6>>"}'),
    ("body", J, '{"apiKey":"<<k20>>","secretKey":"<<k40>>","passphrase":"<<w>>","permissions":["trade"]}'),
    ("body", J, '{"listenKey":"<<k64>>"}'),
    ("body", J, '{"uploadId":"2~aB3","presigned":{"fields":{"key":"a/b.png","policy":"<<b120>>","x-amz-signature":"<<h64>>","x-amz-credential":"ASIA<<u16>>/20261126/eu/s3/aws4_request"}}}'),
    ("body", J, '{"iceServers":[{"urls":"turn:t.example:3478","username":"1796000000:eva","credential":"<<b20>>"}]}'),
    ("body", J, '{"streamKey":"live_<<d9>>_<<k30>>","ingest":"rtmp://live.example/app/<<k24>>"}'),
    ("body", J, '{"card":{"number":"4242424242424242","cvc":"<<d3>>","exp_month":4,"exp_year":2030},"pin":"<<d4>>"}'),
    ("body", J, '{"mnemonic":"<<l>> <<l>> <<l>> <<l>> <<l>> <<l>> <<l>> <<l>> <<l>> <<l>> <<l>> <<l>>"}'),
    ("body", J, '{"wallet":{"address":"0x8f3cf7ad23cd3cadbd9735aff958023239c6a063","privateKey":"0x<<h64>>","xprv":"xprv9s21ZrQH143K<<k90>>"}}'),
    ("body", J, '{"data":{"login":{"__typename":"Auth","jwt":"<<k60>>","csrf":"<<h32>>"}}}'),
    ("body", J, '{"props":{"pageProps":{"session":{"user":{"name":"Eva"},"accessToken":"<<k60>>"},"turnstileSiteKey":"0x4A","stripePk":"pk_live_<<k24>>"}}}'),
    ("body", J, '{"user":{"id":7,"encrypted_password":"$2a$12$<<k53>>","reset_password_token":"<<k20>>","otp_secret":"<<u24>>","remember_created_at":null}}'),
    ("body", J, '{"user":{"password":{"algo":"pbkdf2","hash":"<<b32>>","salt":"<<b16>>"},"name":"eva"}}'),
    ("body", J, '{"smtp":{"host":"mail","auth":{"user":"a","pass":"<<w>>"}},"imap":{"pw":"<<w>>"},"ldap":{"bindCredentials":"<<w>>","bindDN":"cn=x"}}'),
    ("body", J, '{"db":{"uri":"mongodb+srv://app:<<w>>@c0.example/shop?retryWrites=true"},"broker":"nats://<<k20>>@nats:4222","cache":"rediss://default:<<p>>@r:6379"}'),
    ("body", J, '["set-cookie","sid=<<k32>>; HttpOnly"]'),
    ("body", J, '{"log":{"entries":[{"request":{"headers":[{"name":"Authorization","value":"Bearer <<k40>>"},{"name":"Accept","value":"*/*"}],"cookies":[{"name":"sid","value":"<<k32>>"}],"postData":{"params":[{"name":"password","value":"<<w>>"}]}}}]}}'),
    ("body", J, '[{"op":"replace","path":"/spec/auth/password","value":"<<w>>"},{"op":"add","path":"/data/api-token","value":"<<k30>>"}]'),
    ("body", J, '{"columns":["id","name","api_secret"],"rows":[[1,"eva","<<k24>>"],[2,"bob","<<k24>>"]]}'),
    ("body", J, '{"fields":["username","password"],"values":["eva","<<w>>"]}'),
    ("body", J, '{"attributes":[{"Name":"custom:secret","Value":"<<w>>"}],"AuthenticationResult":{"IdToken":"<<k60>>"},"ChallengeParameters":{"SRP_B":"<<h64>>","SALT":"<<h32>>"},"Session":"<<k60>>"}'),
    ("body", J, '{"AuthParameters":{"USERNAME":"eva","PASSWORD":"<<p>>","SECRET_HASH":"<<b32>>"},"ClientId":"x"}'),
    ("body", J, '{"variables":[{"variable_type":"env_var","key":"DEPLOY_TOKEN","value":"<<k24>>","protected":true,"masked":false}]}'),
    ("body", J, '{"config_vars":{"LOG_DRAIN":"on","CLOUDINARY_URL":"cloudinary://<<d15>>:<<k27>>@shop","NEW_RELIC_LICENSE_KEY":"<<h40>>"}}'),
    ("body", J, '{"inputs":{"ssh-private-key":"<<b60>>","registry_password":"<<w>>"}}'),
    ("body", J, '{"title":"Reset","html":"<p>Code: <strong><<d6>></strong></p><a href=\\"https://x.example/r/<<k32>>\\">go</a>"}'),
    ("body", J, '{"notification":{"title":"Your login code","body":"<<d6>> is your Shop code"}}'),
    ("body", J, '{"deviceToken":"<<h64>>","fcm":"<<k22>>:APA91b<<k90>>","push":{"p256dh":"<<k87>>","auth":"<<k22>>"}}'),
    ("body", J, '{"tempUrl":"https://s.example/v1/a?temp_url_sig=<<h40>>&temp_url_expires=1796000000","hls":"https://v.example/i.m3u8?hdnea=exp=1796000000~acl=/*~hmac=<<h64>>"}'),
    ("body", J, '{"image":"https://scontent.example/a.jpg?_nc_ht=x&oh=<<k44>>&oe=65AB","doc":"https://d.example/dl?verify=<<k20>>&policy=<<k60>>"}'),
    ("body", J, '{"serial":"X1","wifi":{"ssid":"home","key":"<<w>>"},"admin":{"login":"root","secret":"<<w>>"},"unlockCode":"<<d8>>","puk":"<<d8>>"}'),
    ("body", J, '{"vpn":{"preSharedKey":"<<w>>","type":"ikev2"},"radius":{"sharedSecret":"<<p>>"},"snmpCommunity":"<<w>>","enablePassword":"<<w>>"}'),
    ("body", J, '{"licenseKey":"<<u5>>-<<u5>>-<<u5>>-<<u5>>","activation":{"code":"<<u8>>"}}'),
    ("body", J, '{"giftCard":{"code":"<<u16>>","pin":"<<d4>>"},"voucherCode":"<<u12>>"}'),
    ("body", J, '{"hook":{"config":{"url":"https://x.example","secret":"<<w>>","insecure_ssl":"0"}},"signing_secret":"<<h32>>","verification_token":"<<k24>>"}'),
    ("body", J, '{"PlainText":"<<w>>","CiphertextBlob":"AQICAHh","Plaintext":"<<b32>>"}'),
    ("body", J, '{"encryptionKey":"<<b32>>","iv":"AAAAAAAAAAAAAAAAAAAAAA==","hmacKey":"<<h64>>","masterKey":"<<h64>>"}'),
    ("body", J, '{"request":{"body":"grant_type=refresh_token&refresh_token=<<k40>>&client_id=a","url":"https://idp.example/token"}}'),
    ("body", J, '{"ssh":{"hostname":"h","port":22,"user":"root","password":"<<p>>","key":"-----BEGIN OPENSSH PRIVATE KEY-----\\n<<b200>>\\n-----END OPENSSH PRIVATE KEY-----"}}'),
    ("body", J, '{"cmd":"mysql -h db -u root -p\'<<w>>\' -e \'select 1\'","exit":1}'),
    ("body", J, '{"argv":["--user","eva","--password","<<w>>","--verbose"],"env":"TOKEN=<<k30>> PORT=80"}'),
    ("body", J, '{"note":"pass: <<w>>","hint":"pin=<<d4>>","passwort":"<<w>>","mot_de_passe":"<<w>>","contrasena":"<<w>>"}'),
    # text of programs
    ("body", T, "[core]\n[remote \"origin\"]\n\turl = https://oauth2:glpat-<<k20>>@gitlab.example/a.git\n[http]\n\textraheader = AUTHORIZATION: basic [[b64 x:<<k40>>]]\n"),
    ("body", T, "[default]\naws_access_key_id = AKIA<<u16>>\naws_secret_access_key = <<k40>>\naws_session_token = <<k90>>\n[Credentials]\ngs_oauth2_refresh_token = 1//<<k40>>\n"),
    ("body", T, "[remote]\ntype = ftp\nhost = h\nuser = a\npass = <<k30>>\n[s3]\nsecret_access_key = <<k40>>\n"),
    ("body", T, "//pkgs.example/:_password=[[b64 <<k30>>]]\n//pkgs.example/:username=ci\n_auth=[[b64 ci:<<w>>]]\n"),
    ("body", T, "APP_KEY=base64:<<b32>>\nDB_PASSWORD=\"<<p>>\"\nMAIL_PASSWORD=<<w>>\nexport JWT_SECRET=<<k30>> # do not commit\nAPP_URL=http://localhost\n"),
    ("body", T, "spring.datasource.password=<<w>>\nserver.ssl.key-store-password: <<w>>\njasypt.encryptor.password = <<w>>\nmanagement.port=80\n"),
    ("body", T, "db.default.url=\"jdbc:postgresql://db/shop?user=app&password=<<w>>\"\nplay.http.secret.key=\"<<k50>>\"\nakka.port = 1\n"),
    ("body", T, "config :app, App.Repo,\n  username: \"shop\",\n  password: \"<<p>>\"\nconfig :app, AppWeb.Endpoint, secret_key_base: \"<<k64>>\"\n"),
    ("body", T, "'passwd' => '<<w>>',\n$cfg['Servers'][$i]['password'] = '<<w>>';\n$config['encryption_key'] = \"<<k32>>\";\n$secret = \"<<p>>\";\nconst apiKey = `<<k32>>`;\nString pwd = new String(\"<<w>>\");\n"),
    ("body", T, "SECRET_KEY = 'django-insecure-<<k50>>'\nDATABASES = {'default': {'NAME': 'shop', 'PASSWORD': '<<p>>'}}\nAWS = dict(secret='<<k40>>', region='eu')\n"),
    ("body", T, "postgres:5432:shop:app:<<w>>\ndb.firm.example:5432:*:root:<<p>>\n"),
    ("body", T, "eva:$apr1$<<k8>>$<<k22>>\nroot:$6$<<k16>>$<<k80>>:19000:0:99999:7:::\nbob:{SHA}<<b20>>\n"),
    ("body", T, "<Location />\n  AuthType Basic\n  RequestHeader set X-Api-Key \"<<k24>>\"\n  AuthLDAPBindPassword \"<<w>>\"\n</Location>\nproxy_set_header Authorization \"Basic [[b64 a:<<w>>]]\";\nSetEnv SMTP_PASS <<w>>\n"),
    ("body", T, "user = eva\npassword = <<w>>\nremote vpn 1194\n<auth-user-pass>\neva\n<<w>>\n</auth-user-pass>\n<tls-auth>\n-----BEGIN OpenVPN Static key V1-----\n<<h32>>\n<<h32>>\n-----END OpenVPN Static key V1-----\n</tls-auth>\n"),
    ("body", T, "smtp_sasl_password_maps: [mail.example]:587 eva:<<w>>\nauth_param digest secret <<w>>\nclient 10.0.0.1 {\n  secret = <<w>>\n  shortname = ap\n}\nbob Cleartext-Password := \"<<w>>\"\n"),
    ("body", T, "key \"rndc-key\" {\n  algorithm hmac-sha256;\n  secret \"<<b32>>\";\n};\nbindpw <<w>>\nrootpw {SSHA}<<k32>>\nolcRootPW: <<w>>\n"),
    ("body", T, "stats auth admin:<<w>>\nuser api insecure-password <<w>>\nuserlist l\n  user x password $5$<<k16>>$<<k43>>\n"),
    ("body", T, "+ export NPM_TOKEN=npm_<<k36>>\n+ echo <<w>> | docker login --password-stdin\n[Pipeline] withEnv SECRET=<<p>>\n##vso[task.setvariable variable=apiToken;issecret=true]<<k24>>\n::set-output name=deploy_password::<<w>>\n::add-mask::<<w>>\n"),
    ("body", T, "Enter passphrase: <<w>>\nPassword for 'https://eva@git.example': <<w>>\nNew password: <<w>>\nAccess key: <<k20>>\nSecret key: <<k40>>\n"),
    ("body", T, "Created service account. Token: <<k40>>\nRoot Token: hvs.<<k24>>\nUnseal Key 1: <<b33>>\nUnseal Key 2: <<b33>>\n"),
    ("body", T, "Generated admin credentials admin/<<w>>\nUsing generated security password: <<h36>>\nPassword for the elastic user (reset with x): <<k20>>\n[Note] A temporary password is generated for root@localhost: <<p>>\n"),
    ("body", T, "SLF4J: HikariConfig - password........................<<w>>\njdbcUrl.........jdbc:h2:mem\nkafka sasl.jaas.config = org.apache.kafka.PlainLoginModule required username=\"a\" password=\"<<w>>\";\nssl.keystore.password = <<w>>\n"),
    ("body", T, "Nov 26 10:00:01 h sshd: Failed password attempt '<<w>>' for root\nNov 26 10:00:02 h sudo: eva : COMMAND=/usr/sbin/chpasswd <<< root:<<w>>\nNov 26 h app[1]: user=eva token=<<k30>> ip=10.0.0.1\nNov 26 h cron: smbclient -U eva%<<w>> //h/s\nmount -o username=eva,password=<<w>> //h/s /m\n"),
    ("body", T, "| id | login | password |\n|----|-------|----------|\n| 1  | eva   | <<w>> |\n| 2  | bob   | <<p>> |\n"),
    ("body", T, "NAME\tVALUE\nDB_PASSWORD\t<<w>>\nREGION\teu\nAPI_KEY\t<<k24>>\n"),
    ("body", C, "name,url,username,password,note\nshop,https://x.example,eva,<<w>>,\nmail,https://m.example,eva,<<p>>,x\n"),
    ("body", C, "\"key\";\"value\"\n\"smtp.password\";\"<<w>>\"\n\"smtp.port\";\"25\"\n"),
    ("body", H, '<input type="password" name="pw" value="<<w>>"><input value="<<k32>>" type="hidden" name="__RequestVerificationToken"><div data-api-key="<<h32>>" data-user-token=\'<<k24>>\'></div><textarea name="private_key"><<b60>></textarea>'),
    ("body", H, '<dl><dt>Password</dt><dd><<w>></dd></dl><table><tr><th>API key</th><td><code><<k32>></code></td></tr></table><p>Token: <tt><<k24>></tt></p><label>PIN</label> <span><<d4>></span>'),
    ("body", H, '<script>gapi.init({clientId:"x",apiKey:"<<k39>>"});wp.nonce="<<h10>>";localStorage.setItem("jwt","<<k60>>");document.cookie="session=<<k32>>; path=/";fetch("/a",{headers:{"X-CSRF":"<<k24>>"}})</script>'),
    ("body", "text/event-stream", 'data: {"type":"session","client_secret":{"value":"ek_<<k32>>","expires_at":1}}\n\ndata: {"type":"log","line":"password=<<w>>"}\n\n'),
    ("sent", "multipart/form-data; boundary=XX", '--XX\r\nContent-Disposition: form-data; name="api_password"\r\n\r\n<<w>>\r\n--XX\r\nContent-Disposition: form-data; name="file"; filename="a.env"\r\n\r\nSECRET=<<w>>\nA=1\r\n--XX\r\nContent-Disposition: form-data; name*=UTF-8\'\'pass%77ord\r\n\r\n<<w>>\r\n--XX--\r\n'),
    ("sent", F, "SAMLResponse=<<k100>>&RelayState=<<k20>>&payload=%7B%22token%22%3A%22<<k24>>%22%7D"),
    ("sent", F, "MERCHANT_KEY=<<k24>>&VPC_SecureHash=<<h64>>&card_cvv=<<d3>>&PWD=<<w>>&SIGNATURE=<<k40>>"),
    ("sent", F, "assertion=<<k80>>&client_assertion=<<k80>>&login_challenge=<<h32>>&_wpnonce=<<h10>>&passcode=<<d6>>&mfa_code=<<d6>>"),
    ("sent", F, "credential=<<k60>>&g_csrf_token=<<h16>>&old_password=<<w>>&new1=<<w>>&new2=<<w>>"),
    ("head", "", "X-Authorization: <<k30>>"),
    ("head", "", "Authorization: <<k32>>"),
    ("head", "", "Authorization: Hawk id=\"d\", ts=\"1\", nonce=\"<<k6>>\", mac=\"<<b32>>\""),
    ("head", "", "X-Parse-Session-Token: r:<<h32>>"),
    ("head", "", "X-Dropbox-Signature: <<h64>>"),
    ("head", "", "xi-api-key: <<h32>>"),
    ("head", "", "X-Session: <<k32>>"),
    ("head", "", "CF-Access-Client-Secret: <<h64>>"),
    ("head", "", "X-Forwarded-Access-Token: <<k60>>"),
    ("head", "", "Forwarded-Uri: /cb?code=<<k24>>"),
    ("answer", "", "WWW-Authenticate: Digest realm=\"x\", nonce=\"<<h32>>\", opaque=\"<<h32>>\""),
    ("answer", "", "X-Debug-Token-Link: https://x.example/_profiler?token=<<k24>>"),
]  # fmt: skip


SETS = {name: [case(number, *one) for number, one in enumerate(rows)] for name, rows in (("a", A), ("b", B), ("c", C_))}
