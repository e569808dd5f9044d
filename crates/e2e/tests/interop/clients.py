"""Clients that nobody here wrote, against a running Admin Module: PyPI's Authlib, requests-oauthlib and PyJWT.

    python clients.py ISSUER CA CLIENT_ID SECRET KEY_CLIENT_ID FOLDER ALGORITHM CERTIFICATE_CLIENT_ID CERTIFICATE KEY

FOLDER holds ALGORITHM.pem, the private keys of KEY_CLIENT_ID. Prints one JSON object a line: who, how, and what came out.
"""

import base64
import hashlib
import json
import ssl
import sys
import time

import jwt
import requests
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oauth2.rfc9068.claims import JWTAccessTokenClaims
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey
from oauthlib.oauth2 import BackendApplicationClient, OAuth2Error
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

(issuer, ca, client_id, secret, key_id, folder, algorithm, certificate_id, certificate, key) = sys.argv[1:]
SCOPE = "files:read"


def told(who, how, **what):
    print(json.dumps({"who": who, "how": how, **what}), flush=True)


metadata = AuthorizationServerMetadata(
    requests.get(f"{issuer}/.well-known/oauth-authorization-server", verify=ca, timeout=10).json()
)
metadata.validate_issuer()
metadata.validate_token_endpoint()
metadata.validate_jwks_uri()
metadata.validate_grant_types_supported()
metadata.validate_token_endpoint_auth_methods_supported()
metadata.validate_token_endpoint_auth_signing_alg_values_supported()
told("Authlib", "metadata", issuer_is_right=metadata["issuer"] == issuer)
endpoint, jwks_uri = metadata["token_endpoint"], metadata["jwks_uri"]

context = ssl.create_default_context(cafile=ca)
keys = jwt.PyJWKClient(jwks_uri, ssl_context=context)
key_set = KeySet.import_key_set(requests.get(jwks_uri, verify=ca, timeout=10).json())
REQUIRED = ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"]


def judged(token):
    """What PyJWT and Authlib's RFC 9068 claims both accept."""
    signed_by = keys.get_signing_key_from_jwt(token)
    claims = jwt.decode(
        token, signed_by, algorithms=[algorithm], audience="artstore-ingester", issuer=issuer, options={"require": REQUIRED}
    )
    decoded = joserfc_jwt.decode(token, key_set, algorithms=[algorithm])
    options = {name: {"essential": True} for name in REQUIRED}
    options["iss"]["value"], options["aud"]["value"] = issuer, "artstore-ingester"
    JWTAccessTokenClaims(decoded.claims, decoded.header, options).validate()
    return {"sub": claims["sub"], "scope": claims["scope"], "lifetime": claims["exp"] - claims["iat"]}


def oauthlib(client, **arguments):
    session = OAuth2Session(client=BackendApplicationClient(client_id=client, scope=[SCOPE]))
    return session.fetch_token(token_url=endpoint, verify=ca, **arguments)


token = oauthlib(client_id, auth=HTTPBasicAuth(client_id, secret))
told("requests-oauthlib", "client_secret_basic", **judged(token["access_token"]))
token = oauthlib(client_id, client_secret=secret, include_client_id=True)
told("requests-oauthlib", "client_secret_post", **judged(token["access_token"]))
token = oauthlib(certificate_id, include_client_id=True, cert=(certificate, key))["access_token"]
shown = base64.b64decode("".join(open(certificate).read().split("-----")[2].split()))
thumbprint = base64.urlsafe_b64encode(hashlib.sha256(shown).digest()).rstrip(b"=").decode()
bound = jwt.decode(token, options={"verify_signature": False})["cnf"] == {"x5t#S256": thumbprint}
told("requests-oauthlib", "tls_client_auth", bound=bound, **judged(token))
try:
    oauthlib(client_id, auth=HTTPBasicAuth(client_id, "wrong"))
except OAuth2Error as error:
    told("requests-oauthlib", "wrong secret", refused=error.error, status=error.status_code)


def authlib(client, credential, method):
    name = method if isinstance(method, str) else method.name
    session = AuthlibSession(client, credential, token_endpoint_auth_method=name, scope=SCOPE)
    if not isinstance(method, str):
        session.register_client_auth_method(method)
    return session.fetch_token(endpoint, grant_type="client_credentials", verify=ca)


for method in ["client_secret_basic", "client_secret_post"]:
    told("Authlib", method, **judged(authlib(client_id, secret, method)["access_token"]))
kinds = {"RS256": RSAKey, "ES256": ECKey, "EdDSA": OKPKey}
private = {alg: kind.import_key(open(f"{folder}/{alg}.pem").read()) for alg, kind in kinds.items()}
for alg in kinds:
    # Its own defaults are the token endpoint as audience and an hour: RFC 10070 wants the issuer, and an hour is too long.
    method = PrivateKeyJWT(issuer, claims={"exp": int(time.time()) + 60}, alg=alg)
    told("Authlib", f"private_key_jwt {alg}", **judged(authlib(key_id, private[alg], method)["access_token"]))
for how, method in [
    ("audience that is the token endpoint", PrivateKeyJWT(endpoint, claims={"exp": int(time.time()) + 60}, alg="ES256")),
    ("an hour's assertion", PrivateKeyJWT(issuer, alg="ES256")),
]:
    try:
        authlib(key_id, private["ES256"], method)
    except OAuthError as error:
        told("Authlib", how, refused=error.error)
