"""More bodies without secrets, as APIs, repositories, pages and programs have them: what speaks of passwords, and ids."""

# ruff: noqa: E501 — a line is what a system sends
# fmt: off
from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable

from tests.unit.redact.ordinary import hexed, uuid, words

J, X = "application/json", "text/xml"
UPPER = string.ascii_uppercase + string.digits
Made = tuple[str, str]


def mixed(dice: random.Random, count: int, letters: str = string.ascii_letters + string.digits) -> str:
    return "".join(dice.choices(letters, k=count))


def charges(d: random.Random) -> Made:
    return J, json.dumps({"object":"list","data":[{"id":"ch_3"+mixed(d,22),"object":"charge","amount":d.randint(1,9999),"balance_transaction":"txn_3"+mixed(d,22),"customer":"cus_"+mixed(d,14),"currency":"eur","payment_intent":"pi_3"+mixed(d,22),"payment_method":"pm_1"+mixed(d,22),"invoice":"in_1"+mixed(d,22),"status":"succeeded","outcome":{"network_status":"approved_by_network","risk_level":"normal","risk_score":7},"payment_method_details":{"card":{"brand":"visa","checks":{"cvc_check":"pass"},"country":"US","exp_month":8,"fingerprint":mixed(d,16),"last4":"4242","network":"visa"},"type":"card"},"receipt_url":None,"metadata":{"order":"A-"+str(d.randint(1,9999))},"refunded":False,"created":1764150000} for _ in range(6)],"has_more":True,"url":"/v1/charges"})


def tracks(d: random.Random) -> Made:
    def track() -> object:
        i = mixed(d, 22)
        return {"id":i,"name":words(d,3),"uri":"spotify:track:"+i,"href":"https://api.spotify.com/v1/tracks/"+i,"external_urls":{"spotify":"https://open.spotify.com/track/"+i},"duration_ms":d.randint(1,10**6),"popularity":40,"explicit":False,"artists":[{"name":words(d,2),"id":(a:=mixed(d,22)),"href":"https://api.spotify.com/v1/artists/"+a,"uri":"spotify:artist:"+a}],"type":"track","available_markets":["AT","DE","FR","US"]}
    return J, json.dumps({"tracks":{"items":[track() for _ in range(8)],"limit":8,"next":"https://api.spotify.com/v1/search?query=x&offset=8"}})


def repositories(d: random.Random) -> Made:
    return J, json.dumps([{"id":d.randint(1,10**9),"node_id":"R_kgDO"+mixed(d,8),"name":words(d,1),"full_name":"firm/"+words(d,1),"private":False,"owner":{"login":"firm","id":1,"node_id":"MDQ6VXNlcjE=","avatar_url":"https://avatars.githubusercontent.com/u/1?v=4","gravatar_id":"","url":"https://api.github.com/users/firm","type":"Organization"},"html_url":"https://github.com/firm/x","description":words(d,6),"fork":False,"keys_url":"https://api.github.com/repos/firm/x/keys{/key_id}","created_at":"2026-01-01T00:00:00Z","pushed_at":"2026-11-01T00:00:00Z","git_url":"git://github.com/firm/x.git","ssh_url":"git@github.com:firm/x.git","default_branch":"main","topics":["linux","http"],"license":{"key":"mit","spdx_id":"MIT"},"permissions":{"admin":False}} for _ in range(4)])


def graphql_page(d: random.Random) -> Made:
    return J, json.dumps({"data":{"products":{"edges":[{"cursor":base64.b64encode(f"arrayconnection:{n}".encode()).decode(),"node":{"id":base64.b64encode(f"Product:{d.randint(1,10**6)}".encode()).decode(),"title":words(d,3),"handle":"bolt-m8","price":{"amount":"12.90","currencyCode":"EUR"},"image":{"url":f"https://cdn.shop.example/p/{hexed(d,32)}.jpg?v=1732612345"}}} for n in range(6)],"pageInfo":{"hasNextPage":True,"endCursor":base64.b64encode(b"arrayconnection:5").decode()}}}})


def package(d: random.Random) -> Made:
    return J, json.dumps({"name":"left-pad","dist-tags":{"latest":"1.3.0"},"versions":{f"1.{n}.0":{"name":"left-pad","version":f"1.{n}.0","description":words(d,6),"main":"index.js","scripts":{"test":"node test"},"license":"WTFPL","gitHead":hexed(d,40),"dist":{"shasum":hexed(d,40),"tarball":f"https://registry.npmjs.org/left-pad/-/left-pad-1.{n}.0.tgz","integrity":"sha512-"+base64.b64encode(d.randbytes(64)).decode()},"dependencies":{"lodash":"^4.17.21","@types/node":"~20.1.0"}} for n in range(4)}})


def manifest(d: random.Random) -> Made:
    return "application/vnd.oci.image.manifest.v1+json", json.dumps({"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:"+hexed(d,64),"size":7023},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:"+hexed(d,64),"size":d.randint(1,10**8)} for _ in range(5)]})


def translations(d: random.Random) -> Made:
    return J, json.dumps({"login":{"title":"Sign in","email":"E-mail","password":"Password","passwordConfirm":"Confirm password","passwordHint":"Your password must have at least 8 characters.","forgotPassword":"Forgot your password?","submit":"Sign in","token":"Enter the token","remember":"Remember me","code":"Code"},"errors":{"password.required":"Please enter a password.","password.short":"The password is too short.","network":"We cannot reach the server.","csrf":"Your session has expired. Please reload the page.","pin":"The PIN is wrong."},"checkout":{"card":"Card","cardNumber":"Card number","cvc":"Security code","title":"Checkout","total":"Total","iban":"IBAN","coupon":"Coupon code","pay":"Pay now","ship":"Ship to this address","back":"Back to the cart"},"account":{"apiKeys":"API keys","sessions":"Active sessions","logout":"Log out","language":"Language","save":"Save","cancel":"Cancel","delete":"Delete the account"}})


def errors_by_field(d: random.Random) -> Made:
    return J, json.dumps({"errors":{"email":["has already been taken"],"password":["is too short (minimum is 8 characters)","can't be blank"],"password_confirmation":["doesn't match Password"],"token":["is invalid"],"base":["Please review the problems below:"]},"status":422,"error":"Unprocessable Entity"})


def errors_in_sentences(d: random.Random) -> Made:
    return J, json.dumps({"message":"The given data was invalid.","errors":{"password":["The password field is required.","The password must be at least 8 characters."],"card_number":["The card number is not valid."],"name":["The name field is required."]}})


def api_description(d: random.Random) -> Made:
    return J, json.dumps({"openapi":"3.0.3","info":{"title":"Shop","version":"1.2.0"},"paths":{"/login":{"post":{"operationId":"login","requestBody":{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/Login"}}}},"responses":{"200":{"description":"A session token"},"401":{"description":"Wrong password"}},"security":[{"apiKey":[]}]}}},"components":{"securitySchemes":{"apiKey":{"type":"apiKey","in":"header","name":"X-Api-Key"},"bearer":{"type":"http","scheme":"bearer","bearerFormat":"JWT"}},"schemas":{"Login":{"type":"object","required":["email","password"],"properties":{"email":{"type":"string","format":"email","description":"Address of the account"},"password":{"type":"string","format":"password","minLength":8,"description":"The user's password"},"token":{"type":"string","description":"One-time code"}}},"Order":{"type":"object","properties":{n:{"type":"string","description":words(d,5)} for n in ("id","number","status","currency","created","customer","address","note")}}}}})


def shop_page(d: random.Random) -> Made:
    return "text/html", f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{words(d,4)}</title><meta name="viewport" content="width=device-width"><meta name="description" content="{words(d,9)}"><link rel="stylesheet" href="/assets/application-{hexed(d,64)}.css"><script src="/assets/app.{hexed(d,8)}.js" integrity="sha384-{base64.b64encode(d.randbytes(48)).decode()}" crossorigin="anonymous" defer></script></head><body class="page page--home"><nav><a href="/">Home</a><a href="/search?q=bolt&amp;page=2">Search</a><a href="/login">Log in</a><a href="/password/reset">Forgot password?</a></nav>' + "".join(f'<article id="p{n}" class="card card--{n} col-md-4" data-id="{d.randint(1,9999)}" data-testid="product-card"><img src="/img/{hexed(d,12)}.webp" srcset="/img/{hexed(d,12)}_2x.webp 2x" alt="{words(d,2)}"><h2>{words(d,4)}</h2><p>{words(d,25)}</p><span class="price">12.90 €</span></article>' for n in range(8)) + '<form action="/login" method="post"><label for="user_password">Password</label><input id="user_password" type="password" name="user[password]" autocomplete="current-password" placeholder="Your password"><button type="submit" value="Log in">Log in</button></form></body></html>'


def handbook(d: random.Random) -> Made:
    return "text/markdown", "# Shop API\n\nAll requests need an API key. Send it as `Authorization: Bearer <token>`; keys are made in the dashboard.\n\n## Authentication\nThe access token is valid for one hour, the refresh token for thirty days. If the token is expired, the answer is 401.\nPasswords must have at least 8 characters. A password is never logged; the secret stays in the vault.\n\n```\ncurl -H \"Authorization: Bearer $TOKEN\" https://api.example/v1/orders\nexport API_KEY=your_api_key_here\n```\n\n| name | type | meaning |\n|---|---|---|\n| token | string | one-time token |\n| code | string | code of the country |\n| state | string | state of the order |\n\n" + words(d,60) + "\n"


def workflow(d: random.Random) -> Made:
    return "application/yaml", "name: ci\non: [push]\nenv:\n  NODE_VERSION: 20\njobs:\n  build:\n    runs-on: ubuntu-latest\n    permissions:\n      id-token: write\n      contents: read\n    steps:\n      - uses: actions/checkout@v4\n      - uses: docker/login-action@v3\n        with:\n          registry: ghcr.io\n          username: ${{ github.actor }}\n          password: ${{ secrets.GITHUB_TOKEN }}\n      - run: npm ci && npm test\n        env:\n          NPM_TOKEN: ${{ secrets.NPM_TOKEN }}\n          DB_PASSWORD: ${DB_PASSWORD}\n      - uses: actions/cache@v3\n        with:\n          path: ~/.npm\n          key: ${{ runner.os }}-node-${{ hashFiles('**/package-lock.json') }}\n          restore-keys: |\n            ${{ runner.os }}-node-\n"


def auth_settings(d: random.Random) -> Made:
    return "application/yaml", "server:\n  port: 8080\nauth:\n  provider: oidc\n  issuer: https://id.example/realms/shop\n  enabled: true\n  realm: shop\n  mode: strict\n  roles:\n    - admin\n    - editor\n  session:\n    timeout: 30m\n    store: redis\n  token:\n    ttl: 3600\n    algorithm: RS256\ncookies:\n  secure: true\n  same_site: lax\nlogging:\n  level: info\n  format: json\ncache:\n  ttl: 300\n  prefix: shop\ndatabase:\n  host: db.internal\n  port: 5432\n  name: shop\n  pool: 10\n"


def auth_document(d: random.Random) -> Made:
    return J, json.dumps({"auth":{"enabled":True,"provider":"oidc","issuer":"https://id.example","realm":"shop","roles":["admin","editor"],"methods":["password","passkey"]},"session":{"timeout":1800,"store":"redis"},"cookies":{"secure":True,"sameSite":"lax"},"features":{"checkout":"v2","search":"v3"},"limits":{"items":50,"orders":10},"locale":"de-DE","currency":"EUR","theme":"dark","support":{"hours":"9-17","phone":"+49 30 123456"},"legal":{"imprint":"/imprint","privacy":"/privacy"}})


def commits(d: random.Random) -> Made:
    return "text/plain", "".join(f"commit {hexed(d,40)}\nAuthor: Eva Muster\nDate:   Thu Nov 26 10:0{n}:00 2026 +0100\n\n    {words(d,8)}\n\n    {words(d,24)}\n\n" for n in range(6))


def many_ids(d: random.Random) -> Made:
    return J, json.dumps({"items":[{"_id":hexed(d,24),"ref":mixed(d,20),"parent":mixed(d,16),"videoId":mixed(d,11),"contentType":"article","sys":{"id":mixed(d,22),"type":"Entry"},"airtable":"rec"+mixed(d,14),"slack":"U0"+mixed(d,9,"ABCDEFGHJKLMNPQRSTUVWXYZ0123456789"),"ulid":"01"+mixed(d,24,"0123456789ABCDEFGHJKMNPQRSTVWXYZ"),"cuid":"c"+mixed(d,24,"abcdefghijklmnopqrstuvwxyz0123456789"),"uuid":uuid(d),"title":words(d,4),"body":words(d,20),"n":n} for n in range(5)]})


def service_log(d: random.Random) -> Made:
    return "text/plain", "".join(f"2026-11-26T10:00:0{n}Z INFO  [http-nio-8080-exec-{n}] c.f.shop.OrderController : order {uuid(d)} for user {d.randint(1,9999)} took {d.randint(1,99)}ms trace={hexed(d,32)} span={hexed(d,16)} status=OK {words(d,6)}\n" for n in range(9))


def access_log(d: random.Random) -> Made:
    return "text/plain", "".join(f'10.0.{n}.7 - - [26/Nov/2026:10:00:0{n} +0000] "GET /items/{d.randint(1,9999)}?page=2&sort=price&utm_source=mail HTTP/1.1" 200 {d.randint(1,9999)} "https://shop.example/search?q=bolt" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36" rt=0.0{n}\n' for n in range(9))


def sitemap(d: random.Random) -> Made:
    return "text/xml", '<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">' + "".join(f"<url><loc>https://shop.example/items/{d.randint(1,9999)}/{words(d,2).replace(' ','-')}</loc><lastmod>2026-11-{n:02}</lastmod><changefreq>daily</changefreq><priority>0.8</priority></url>" for n in range(1,15)) + "</urlset>"


def feed(d: random.Random) -> Made:
    return "application/rss+xml", "<rss version='2.0'><channel><title>News</title>" + "".join(f"<item><title>{words(d,5)}</title><link>https://paper.example/2026/11/{d.randint(1,30)}/{'-'.join(words(d,4).split())}</link><guid isPermaLink='false'>{uuid(d)}</guid><category>tech</category><description><![CDATA[<p>{words(d,30)}</p>]]></description></item>" for _ in range(6)) + "</channel></rss>"


def places(d: random.Random) -> Made:
    return J, json.dumps({"type":"FeatureCollection","features":[{"type":"Feature","geometry":{"type":"Point","coordinates":[d.random()*90,d.random()*90]},"properties":{"name":words(d,2),"code":"DE-BE","iso":"DEU","pop":d.randint(1,10**7),"key":"berlin"}} for _ in range(12)]})


def countries(d: random.Random) -> Made:
    return "text/csv", "code,name,phone_code,currency_code,capital\n"+"".join(f"{mixed(d,2,'ABCDEFGHIJK')},{words(d,1)},+{d.randint(1,99)},{mixed(d,3,'ABCEURUSD')},{words(d,1)}\n" for _ in range(20))


def coupons(d: random.Random) -> Made:
    return "text/csv", "code,title,percent\n"+"".join(f"{words(d,1).upper()}{d.randint(10,99)},{words(d,2)},{d.randint(1,50)}\n" for _ in range(10))


def completion(d: random.Random) -> Made:
    return J, json.dumps({"id":"chatcmpl-"+mixed(d,29),"object":"chat.completion","created":1764150000,"model":"gpt-4o-2024-08-06","choices":[{"index":0,"message":{"role":"assistant","content":words(d,80)+". To reset a password, open the settings and choose Security. The access token is stored in the keychain, and the secret is never shown again.","refusal":None},"logprobs":None,"finish_reason":"stop"}],"usage":{"prompt_tokens":31,"completion_tokens":99,"total_tokens":130},"system_fingerprint":"fp_"+hexed(d,10)})


def encyclopedia(d: random.Random) -> Made:
    return "text/html", "<p>A <b>password</b>, sometimes called a passcode, is secret data, typically a string of characters, usually used to confirm a user's identity. The term passcode is sometimes used when the secret information is purely numeric, such as the personal identification number (PIN) commonly used for ATM access.</p><p>Using the terminology of the NIST Digital Identity Guidelines, the secret is held by a party called the claimant while the party verifying the identity of the claimant is called the verifier. The token is usually short. In 1961 the password was introduced with CTSS; the code was 12 bits. The login name is public; the key to the account is not.</p>"


def profile(d: random.Random) -> Made:
    return J, json.dumps({"user":{"id":d.randint(1,999),"name":"Eva","username":"eva77","avatar":f"https://cdn.example/u/{uuid(d)}/a.png","hasPassword":True,"passwordChangedAt":"2026-01-01","twoFactorEnabled":False,"pinned":["a1","b2"],"keywords":["steel","bolt"],"accessLevel":"member","secretary":"Bob","passenger":2,"signedIn":True,"sessionsCount":3,"tokenType":"bearer","authProvider":"google","cardBrand":"visa","last4":"4242","cookieConsent":"all","keyboard":"qwertz","saltLevel":"low","compass":"north","surpass":"x","bypass":"no","codec":"h264","postcode":"10115","signature_dish":"soup"}})


def usage(d: random.Random) -> Made:
    return "text/plain", "usage: tool [--password PASSWORD] [--token TOKEN] [-u USER]\n\noptions:\n  --password PASSWORD  the password of the account\n  --token TOKEN        a token instead of the password\n  -u USER              the user (default: root)\n  --api-key KEY        key of the API (default: $API_KEY)\n  -p, --port PORT      the port to listen on\n  --no-auth            do not ask for a password\n\n" + words(d,40) + "\n"


def calendar(d: random.Random) -> Made:
    return "text/calendar", "BEGIN:VCALENDAR\r\nVERSION:2.0\r\n" + "".join(f"BEGIN:VEVENT\r\nUID:{uuid(d)}\r\nDTSTAMP:20261126T100000Z\r\nSUMMARY:{words(d,3)}\r\nLOCATION:Room {n}\r\nEND:VEVENT\r\n" for n in range(5)) + "END:VCALENDAR\r\n"


def log_search(d: random.Random) -> Made:
    return J, json.dumps({"_scroll_size":3,"hits":{"hits":[{"_index":"logs-2026","_id":mixed(d,20,string.ascii_letters + "_-"),"_source":{"message":words(d,9),"host":{"name":"node-1"},"trace.id":hexed(d,32),"http.request.id":uuid(d),"event.code":"4625","log.level":"info"}} for _ in range(6)]}})


def graphql_request(d: random.Random) -> Made:
    return J, json.dumps({"operationName":"Products","variables":{"first":20,"after":"Y3Vyc29yOjIw","filter":{"brand":"acme","inStock":True}},"query":"query Products($first: Int!, $after: String, $filter: F) { products(first: $first, after: $after, filter: $filter) { edges { cursor node { id title key code state } } } }","extensions":{"persistedQuery":{"version":1,"sha256Hash":hexed(d,64)}}})


def events_of_pods(d: random.Random) -> Made:
    return J, json.dumps({"kind":"EventList","items":[{"metadata":{"name":f"shop-{hexed(d,10)}-{mixed(d,5,'bcdfghjklmnpqrstvwxz2456789')}.{hexed(d,16)}","uid":uuid(d),"resourceVersion":str(d.randint(1,10**7))},"involvedObject":{"kind":"Pod","name":f"shop-{hexed(d,10)}-{mixed(d,5,'bcdfghjklmnpqrstvwxz2456789')}"},"reason":"Pulled","message":"Container image \"registry.example/shop:1.4.2\" already present on machine","count":3,"type":"Normal"} for _ in range(6)]})


def products(d: random.Random) -> Made:
    return J, json.dumps({"products":[{"id":d.randint(10**12,10**13),"title":words(d,3),"body_html":f"<p>{words(d,20)}</p>","vendor":"Acme","handle":"bolt-m8","published_scope":"global","admin_graphql_api_id":f"gid://shopify/Product/{d.randint(10**12,10**13)}","variants":[{"id":d.randint(10**13,10**14),"sku":f"BLT-{d.randint(1,999)}","price":"12.90","barcode":str(d.randint(10**12,10**13)),"grams":200,"option1":"red","inventory_policy":"deny","requires_shipping":True}],"image":{"src":f"https://cdn.shopify.com/s/files/1/0533/2089/files/bolt_{hexed(d,32)}.jpg?v=1732612345"}} for _ in range(4)]})


def chat_messages(d: random.Random) -> Made:
    return J, json.dumps({"ok":True,"messages":[{"type":"message","user":"U"+mixed(d,10,"ABCDEFGHJKLMNPQRSTUVWXYZ0123456789"),"text":words(d,15)+" please reset the password of the test account, the token has expired","ts":f"17641500{d.randint(10,99)}.{d.randint(100000,999999)}","client_msg_id":uuid(d),"team":"T"+mixed(d,8,"ABCDEFGHJKLMNPQRSTUVWXYZ0123456789"),"blocks":[{"type":"rich_text","block_id":mixed(d,5)}]} for _ in range(5)],"has_more":True,"response_metadata":{"next_cursor":"bmV4dF90czoxNzY0"}})


def videos(d: random.Random) -> Made:
    return J, json.dumps({"kind":"youtube#searchListResponse","etag":mixed(d,27),"nextPageToken":"CAUQAA","items":[{"kind":"youtube#searchResult","etag":mixed(d,27),"id":{"kind":"youtube#video","videoId":mixed(d,11)},"snippet":{"publishedAt":"2026-01-01T00:00:00Z","channelId":"UC"+mixed(d,22),"title":words(d,5),"thumbnails":{"default":{"url":f"https://i.ytimg.com/vi/{mixed(d,11)}/default.jpg","width":120}}}} for _ in range(5)]})


def forum_messages(d: random.Random) -> Made:
    return J, json.dumps([{"id":str(d.randint(10**17,10**18)),"type":0,"content":words(d,12),"channel_id":str(d.randint(10**17,10**18)),"author":{"id":str(d.randint(10**17,10**18)),"username":"eva","avatar":hexed(d,32),"discriminator":"0","public_flags":0},"attachments":[],"mentions":[],"pinned":False,"tts":False,"timestamp":"2026-01-01T00:00:00.000000+00:00"} for _ in range(4)])


def merge_requests(d: random.Random) -> Made:
    return J, json.dumps([{"id":d.randint(1,999),"iid":3,"title":words(d,6),"state":"opened","author":{"id":1,"username":"eva","name":"Eva","avatar_url":f"https://secure.gravatar.com/avatar/{hexed(d,32)}?s=80&d=identicon"},"sha":hexed(d,40),"merge_commit_sha":hexed(d,40),"web_url":"https://gitlab.example/firm/x/-/merge_requests/3","references":{"short":"!3","full":"firm/x!3"},"task_completion_status":{"count":0},"diff_refs":{"base_sha":hexed(d,40),"head_sha":hexed(d,40)}} for _ in range(3)])


def plan_of_changes(d: random.Random) -> Made:
    return "text/plain", f'Terraform will perform the following actions:\n\n  # aws_instance.web will be created\n  + resource "aws_instance" "web" {{\n      + ami           = "ami-0{hexed(d,16)}"\n      + instance_type = "t3.micro"\n      + key_name      = "deploy"\n      + password_data = (known after apply)\n      + secret        = (sensitive value)\n      + subnet_id     = "subnet-0{hexed(d,16)}"\n      + user_data     = "{hexed(d,40)}"\n      + vpc_security_group_ids = ["sg-0{hexed(d,16)}"]\n    }}\n\nPlan: 1 to add, 0 to change, 0 to destroy.\n'


def instances(d: random.Random) -> Made:
    return X, f'<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>{uuid(d)}</requestId><reservationSet>' + "".join(f"<item><reservationId>r-0{hexed(d,16)}</reservationId><instanceId>i-0{hexed(d,16)}</instanceId><imageId>ami-0{hexed(d,16)}</imageId><keyName>deploy</keyName><instanceType>t3.micro</instanceType><privateDnsName>ip-10-0-0-{n}.ec2.internal</privateDnsName><clientToken></clientToken><code>16</code><name>running</name></item>" for n in range(5)) + "</reservationSet></DescribeInstancesResponse>"


def bucket(d: random.Random) -> Made:
    return X, "<ListBucketResult><Name>b</Name><Prefix>img/</Prefix><KeyCount>6</KeyCount><MaxKeys>1000</MaxKeys>" + "".join(f"<Contents><Key>img/{words(d,1)}/{hexed(d,12)}.jpg</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;{hexed(d,32)}&quot;</ETag><Size>{d.randint(1,10**6)}</Size><StorageClass>STANDARD</StorageClass></Contents>" for _ in range(6)) + "</ListBucketResult>"


def web_service(d: random.Random) -> Made:
    return X, '<wsdl:definitions name="Auth"><wsdl:types><xs:schema><xs:element name="login"><xs:complexType><xs:sequence><xs:element name="userName" type="xs:string"/><xs:element name="password" type="xs:string"/><xs:element minOccurs="0" name="token" type="xs:string"/></xs:sequence></xs:complexType></xs:element><xs:element name="loginResponse"><xs:complexType><xs:sequence><xs:element name="sessionId" type="xs:string"/></xs:sequence></xs:complexType></xs:element></xs:schema></wsdl:types><wsdl:message name="login"><wsdl:part element="tns:login" name="parameters"/></wsdl:message></wsdl:definitions>'


def app_strings(d: random.Random) -> Made:
    return X, '<resources><string name="app_name">Shop</string><string name="password">Password</string><string name="password_hint">Enter your password</string><string name="forgot_password">Forgot password?</string><string name="error_token">The token is not valid.</string><string name="pin_title">Choose a PIN</string><string name="cart">Cart</string><string name="checkout">Checkout</string><string name="search">Search</string><string name="home">Home</string></resources>'


def database_schema(d: random.Random) -> Made:
    return "text/plain", "CREATE TABLE users (\n  id bigint NOT NULL,\n  email varchar(255) NOT NULL,\n  password_hash varchar(255),\n  reset_token varchar(64) DEFAULT NULL,\n  api_key char(32),\n  session_id uuid,\n  created_at timestamp DEFAULT now(),\n  PRIMARY KEY (id),\n  UNIQUE KEY users_email (email),\n  KEY users_token (reset_token)\n);\nCREATE INDEX users_api_key ON users (api_key);\nSELECT id, password_hash FROM users WHERE reset_token = $1 AND api_key = ?;\n"


def javascript(d: random.Random) -> Made:
    return "application/javascript", 'export async function login(email, password) {\n  const token = await getToken({ email, password });\n  if (!token) { throw new Error("Wrong password"); }\n  session.token = token;\n  headers["Authorization"] = `Bearer ${token}`;\n  const secret = process.env.JWT_SECRET;\n  const key = cache.get(`user:${email}`);\n  localStorage.setItem("token", token);\n  return { token, user: data.user, code: res.status };\n}\nconst labels = { password: "Your password", pin: "Your PIN" };\nfunction validate(password) { return password.length >= 8; }\n'


def python(d: random.Random) -> Made:
    return "text/x-python", 'import os\n\nclass User(Base):\n    password = Column(String(255))\n    token: str = ""\n    api_key = models.CharField(max_length=64)\n\ndef login(username: str, password: str) -> str:\n    user = authenticate(username=username, password=password)\n    token = create_token(user.id, secret=settings.SECRET_KEY)\n    session["token"] = token\n    secret = os.environ["SECRET"]\n    password = getpass.getpass("Password: ")\n    key = f"user:{username}"\n    return token\n\nparser.add_argument("--password", help="the password of the account")\nparser.add_argument("--token", default=None)\n'


def stylesheet(d: random.Random) -> Made:
    return "text/css", "".join(f".card-{n}, .btn--primary {{ color: #{hexed(d,6)}; background: url(/img/{hexed(d,20)}.png); --token-color: #{hexed(d,6)}; transition: opacity .2s; }}\n@font-face {{ font-family: Inter; src: url(/fonts/inter.{hexed(d,20)}.woff2) format('woff2'); }}\n" for n in range(6))


def auth_metrics(d: random.Random) -> Made:
    return "text/plain", "".join(f'process_cpu_seconds_total {d.random()}\nauth_token_validations_total{{result="ok",issuer="https://id.example"}} {d.randint(1,10**6)}\nhttp_request_duration_seconds_bucket{{le="0.1",path="/login",code="200"}} {d.randint(1,10**6)}\nsession_store_keys{{db="0"}} 12\n' for _ in range(5))


def journal(d: random.Random) -> Made:
    return "text/plain", "".join(f"Nov 26 10:00:0{n} web-1 sshd[{d.randint(100,9999)}]: Accepted publickey for deploy from 10.0.0.{n} port {d.randint(1024,65000)} ssh2: RSA SHA256:{base64.b64encode(d.randbytes(32)).decode().rstrip('=')}\nNov 26 10:00:0{n} web-1 sshd[{d.randint(100,9999)}]: Failed password for invalid user admin from 203.0.113.{n} port {d.randint(1024,65000)} ssh2\nNov 26 10:00:0{n} web-1 sudo: pam_unix(sudo:session): session opened for user root by (uid=0)\nNov 26 10:00:0{n} web-1 systemd[1]: Started Session {n} of user eva.\n" for n in range(5))


def orders_csv(d: random.Random) -> Made:
    return "text/csv", "order_id;customer;state;payment_method;card_type;tracking_code;country_code;token_count\n"+"".join(f"{d.randint(1,9999)};Eva;paid;card;visa;JJD0{d.randint(10**15,10**16)};DE;{d.randint(1,99)}\n" for _ in range(12))


def people_csv(d: random.Random) -> Made:
    return "text/csv", "id,name,email_verified,role,last_login,session_count,password_changed_at,two_factor\n"+"".join(f"{n},Eva,true,admin,2026-11-26,{d.randint(1,99)},2026-01-0{n%9+1},false\n" for n in range(12))


def tools_of_mcp(d: random.Random) -> Made:
    return J, json.dumps({"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"login","description":"Signs a user in with a password and gives a session token back.","inputSchema":{"type":"object","properties":{"username":{"type":"string","description":"Name of the user"},"password":{"type":"string","description":"The password"},"otp":{"type":"string","pattern":"^[0-9]{6}$"}},"required":["username","password"]}},{"name":"search","description":words(d,9),"inputSchema":{"type":"object","properties":{"q":{"type":"string"},"page_token":{"type":"string","description":"Where to go on"}}}}]}})


def prompt(d: random.Random) -> Made:
    return J, json.dumps({"model":"gpt-4o","temperature":0.2,"max_tokens":512,"messages":[{"role":"system","content":"You are a helpful assistant. Never tell a password or a secret. If the user asks for a token, say that keys are kept in the vault."},{"role":"user","content":"How do I reset the password of a postgres user? And what is a session token? "+words(d,20)}],"tools":[{"type":"function","function":{"name":"reset_password","parameters":{"type":"object","properties":{"user":{"type":"string"},"password":{"type":"string"}}}}}]})


def streamed_answer(d: random.Random) -> Made:
    return "text/event-stream", "".join('data: '+json.dumps({"id":"chatcmpl-"+"abc","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":t}}]})+"\n\n" for t in ("To reset the password of a user, run ALTER USER name WITH PASSWORD and the new one. "+words(d,30)+" The token is valid for one hour. Your code is in the mail.").split(" "))+"data: [DONE]\n\n"


def problem_details(d: random.Random) -> Made:
    return "application/problem+json", json.dumps({"type":"https://api.example/problems/invalid-token","title":"The access token is invalid","status":401,"detail":"The token has expired at 2026-11-26T10:00:00Z. Please sign in again.","instance":"/orders/12","code":"TOKEN_EXPIRED","traceId":"00-"+hexed(d,32)+"-"+hexed(d,16)+"-00","errors":[{"field":"password","message":"must not be blank","code":"NotBlank","rejectedValue":None}]})


def stack_trace(d: random.Random) -> Made:
    return J, json.dumps({"timestamp":"2026-11-26T10:00:00.000+00:00","status":500,"error":"Internal Server Error","exception":"org.springframework.security.authentication.BadCredentialsException","message":"Bad credentials","trace":"org.springframework.security.authentication.BadCredentialsException: Bad credentials\n\tat org.springframework.security.authentication.dao.DaoAuthenticationProvider.additionalAuthenticationChecks(DaoAuthenticationProvider.java:79)\n\tat com.firm.auth.TokenService.createToken(TokenService.java:41)\n\tat com.firm.session.SessionFilter.doFilter(SessionFilter.java:17)\n","path":"/login"})


def settings_form(d: random.Random) -> Made:
    return "text/html", '<form><label for="pw">New password</label><input type="password" id="pw" name="new_password" autocomplete="new-password"><label>Repeat password</label><input type="password" name="repeat"><select name="state"><option value="open">Open</option><option value="closed">Closed</option></select><input type="hidden" name="action" value="save"><input type="hidden" name="page" value="3"><input type="hidden" name="state" value="open"><button name="code" value="go">Go</button></form><table><tr><th>User</th><th>Token</th><th>Created</th></tr><tr><td>eva</td><td>active</td><td>today</td></tr></table>'


def openid_configuration(d: random.Random) -> Made:
    return J, json.dumps({"issuer":"https://id.example","authorization_endpoint":"https://id.example/auth","token_endpoint":"https://id.example/token","jwks_uri":"https://id.example/jwks","userinfo_endpoint":"https://id.example/me","end_session_endpoint":"https://id.example/logout","response_types_supported":["code","token","id_token"],"token_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post","private_key_jwt"],"id_token_signing_alg_values_supported":["RS256"],"scopes_supported":["openid","profile"],"code_challenge_methods_supported":["S256"],"claims_supported":["sub","iss","auth_time","acr"],"grant_types_supported":["authorization_code","refresh_token"]})


def public_keys(d: random.Random) -> Made:
    return J, json.dumps({"keys":[{"kty":"RSA","use":"sig","alg":"RS256","kid":hexed(d,40),"n":base64.urlsafe_b64encode(d.randbytes(256)).decode().rstrip("="),"e":"AQAB"} for _ in range(2)]})


def containers(d: random.Random) -> Made:
    return "application/yaml", "version: '3'\nservices:\n  web:\n    image: registry.example/shop:1.4.2\n    ports:\n      - \"8080:80\"\n    environment:\n      DB_HOST: db\n      DB_PASSWORD_FILE: /run/secrets/db_password\n      SECRET_KEY: ${SECRET_KEY}\n      LOG_LEVEL: info\n    secrets:\n      - db_password\n    depends_on:\n      - db\n  db:\n    image: postgres:16\n    environment:\n      POSTGRES_PASSWORD_FILE: /run/secrets/db_password\nsecrets:\n  db_password:\n    external: true\n"


def deployment(d: random.Random) -> Made:
    return "application/yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: shop\nspec:\n  template:\n    spec:\n      serviceAccountName: shop\n      automountServiceAccountToken: false\n      imagePullSecrets:\n        - name: registry\n      containers:\n        - name: web\n          image: registry.example/shop:1.4.2\n          env:\n            - name: DB_PASSWORD\n              valueFrom:\n                secretKeyRef:\n                  name: db\n                  key: password\n            - name: LOG_LEVEL\n              value: info\n          volumeMounts:\n            - name: tls-secret\n              mountPath: /tls\n      volumes:\n        - name: tls-secret\n          secret:\n            secretName: shop-tls\n"


def documents(d: random.Random) -> Made:
    return J, json.dumps({"documents":[{"name":f"projects/firm/databases/(default)/documents/orders/{mixed(d,20)}","fields":{"title":{"stringValue":words(d,3)},"qty":{"integerValue":"3"},"paid":{"booleanValue":True},"owner":{"stringValue":mixed(d,28)}},"createTime":"2026-01-01T00:00:00.123456Z"} for _ in range(5)]})


def pages(d: random.Random) -> Made:
    return J, json.dumps({"object":"list","results":[{"object":"page","id":uuid(d),"created_by":{"object":"user","id":uuid(d)},"parent":{"type":"database_id","database_id":uuid(d)},"properties":{"Name":{"id":"title","type":"title","title":[{"type":"text","text":{"content":words(d,4)},"plain_text":words(d,4)}]},"Tags":{"id":"%3Ab","type":"multi_select","multi_select":[{"id":mixed(d,4),"name":words(d,1),"color":"red"}]}},"url":"https://www.notion.so/"+words(d,2).replace(" ","-")+"-"+hexed(d,32)} for _ in range(4)]})


CLASSES: tuple[Callable[[random.Random], Made], ...] = (
    charges, tracks, repositories, graphql_page, package, manifest, translations, errors_by_field,
    errors_in_sentences, api_description, shop_page, handbook, workflow, auth_settings, auth_document,
    commits, many_ids, service_log, access_log, sitemap, feed, places, countries, coupons, completion,
    encyclopedia, profile, usage, calendar, log_search, graphql_request, events_of_pods, products,
    chat_messages, videos, forum_messages, merge_requests, plan_of_changes, instances, bucket, web_service,
    app_strings, database_schema, javascript, python, stylesheet, auth_metrics, journal, orders_csv,
    people_csv, tools_of_mcp, prompt, streamed_answer, problem_details, stack_trace, settings_form,
    openid_configuration, public_keys, containers, deployment, documents, pages,
)
