// Clients that nobody here wrote, against a running Admin Module: npm's openid-client and oauth4webapi.
//
//   NODE_EXTRA_CA_CERTS=CA node clients.mjs NODE_MODULES ISSUER CLIENT_ID SECRET KEY_CLIENT_ID FOLDER ALGORITHM
//
// FOLDER holds ALGORITHM.pem, the private keys of KEY_CLIENT_ID. Prints one JSON object a line: who, how, and what came out.
import { createPrivateKey, webcrypto } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, issuer, id, secret, keyId, folder, algorithm] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(join(modules, path)));
const oidc = await load('openid-client/build/index.js');
const oauth = await load('oauth4webapi/build/index.js');
const server = new URL(issuer);
const told = (who, how, what) => console.log(JSON.stringify({ who, how, ...what }));

const imports = {
  RS256: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
  ES256: { name: 'ECDSA', namedCurve: 'P-256' },
  EdDSA: { name: 'Ed25519' },
};
const signing = async (alg) => {
  const pkcs8 = createPrivateKey(readFileSync(join(folder, `${alg}.pem`))).export({ type: 'pkcs8', format: 'der' });
  return webcrypto.subtle.importKey('pkcs8', pkcs8, imports[alg], false, ['sign']);
};

// RFC 9068 as oauth4webapi reads it: header, signature by the published key, and every claim.
const as = await oauth.processDiscoveryResponse(server, await oauth.discoveryRequest(server, { algorithm: 'oauth2' }));
const judge = async (token, audience) => {
  const headers = { authorization: `Bearer ${token}` };
  const request = new Request('https://resource.test/', { headers });
  return oauth.validateJwtAccessToken(as, request, audience, { signingAlgorithms: [algorithm] });
};
const valid = async (token) => {
  const { alg, typ } = JSON.parse(Buffer.from(token.split('.')[0], 'base64url'));
  const { sub, client_id, scope, iss, exp, iat } = await judge(token, 'artstore-ingester');
  return { alg, typ, sub, client_id, scope, issued_here: iss === issuer, lifetime: exp - iat };
};
// Every 401 has a challenge (RFC 9110), at which this client stops; the body is there to be read.
const failure = async (error) => ({
  refused: error.error ?? (await error.response.json()).error,
  challenge: error.code === 'OAUTH_WWW_AUTHENTICATE_CHALLENGE',
  status: error.status,
});

told('oauth4webapi', 'metadata', {
  methods: as.token_endpoint_auth_methods_supported,
  algorithms: as.token_endpoint_auth_signing_alg_values_supported,
  bound: as.tls_client_certificate_bound_access_tokens,
});

const ways = async (library) => [
  ['client_secret_basic', id, library.ClientSecretBasic(secret)],
  ['client_secret_post', id, library.ClientSecretPost(secret)],
  ...await Promise.all(Object.keys(imports).map(async (alg) => (
    [`private_key_jwt ${alg}`, keyId, library.PrivateKeyJwt(await signing(alg))]
  ))),
];

for (const [how, client, method] of await ways(oidc)) {
  const config = await oidc.discovery(server, client, undefined, method, { algorithm: 'oauth2' });
  const answer = await oidc.clientCredentialsGrant(config, { scope: 'files:read' });
  told('openid-client', how, { expires_in: answer.expires_in, ...await valid(answer.access_token) });
}

for (const [how, client_id, method] of await ways(oauth)) {
  const asked = await oauth.clientCredentialsGrantRequest(as, { client_id }, method, { scope: 'files:read' });
  const answer = await oauth.processClientCredentialsResponse(as, { client_id }, asked);
  told('oauth4webapi', how, { expires_in: answer.expires_in, ...await valid(answer.access_token) });
}

// What is wrong is refused in a form that the clients read.
const refused = async (method, client, scope) => {
  const config = await oidc.discovery(server, client, undefined, method, { algorithm: 'oauth2' });
  return oidc.clientCredentialsGrant(config, scope === undefined ? {} : { scope }).then(() => ({ refused: null }), failure);
};
told('openid-client', 'wrong secret, basic', await refused(oidc.ClientSecretBasic('wrong'), id));
told('openid-client', 'wrong secret, post', await refused(oidc.ClientSecretPost('wrong'), id));
told('openid-client', 'key of another client', await refused(oidc.PrivateKeyJwt(await signing('ES256')), id));
told('openid-client', 'scope that it has not', await refused(oidc.ClientSecretPost(secret), id, 'accounts:admin'));

const config = await oidc.discovery(server, id, undefined, oidc.ClientSecretPost(secret), { algorithm: 'oauth2' });
const { access_token: token } = await oidc.clientCredentialsGrant(config);
const fails = (judged) => judged.then(() => ({ refused: null }), (error) => ({ refused: error.code }));
told('oauth4webapi', 'token for another audience', await fails(judge(token, 'artstore-element')));
const [header, claims, signature] = token.split('.');
const forged = [header, Buffer.from(claims, 'base64url').toString().replace('files:read', 'files:rEad'), signature];
forged[1] = Buffer.from(forged[1]).toString('base64url');
told('oauth4webapi', 'token that was changed', await fails(judge(forged.join('.'), 'artstore-ingester')));
