// An issuer that nobody here wrote: npm's oidc-provider over TLS on loopback.
//
//   node provider.mjs NODE_MODULES FOLDER
//
// FOLDER holds server.pem, server.key, ca.pem and client.pem. Keys of private_key_jwt clients are made here and written to
// FOLDER/ALGORITHM.pem as PKCS#8. Prints the issuer in one line once it answers; ends when its standard input does.
import { X509Certificate, createHash, generateKeyPairSync } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, folder] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(join(modules, 'oidc-provider/lib/index.js')));
const read = (name) => readFileSync(join(folder, name), 'utf8');

const kinds = {
  RS256: ['rsa', { modulusLength: 2048 }],
  ES256: ['ec', { namedCurve: 'P-256' }],
  EdDSA: ['ed25519', {}],
};
const pair = (alg) => generateKeyPairSync(...kinds[alg]);

const signing = Object.keys(kinds).map((alg) => (
  { ...pair(alg).privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: `issuer-${alg}` }
));

// RFC 7638: what a client names its key by.
const thumbprint = (jwk) => {
  const members = Object.fromEntries(Object.entries(jwk).sort(([a], [b]) => (a < b ? -1 : 1)));
  return createHash('sha256').update(JSON.stringify(members)).digest('base64url');
};

const client = (client_id, token_endpoint_auth_method, more) => ({
  client_id,
  token_endpoint_auth_method,
  grant_types: ['client_credentials'],
  response_types: [],
  redirect_uris: [],
  ...more,
});
const secret = 'p:w/+ &=%~* secret of more than 32 bytes';
const byKey = Object.keys(kinds).map((alg) => {
  const { privateKey, publicKey } = pair(alg);
  writeFileSync(join(folder, `${alg}.pem`), privateKey.export({ format: 'pem', type: 'pkcs8' }));
  const jwk = publicKey.export({ format: 'jwk' });
  const key = { ...jwk, alg, use: 'sig', kid: thumbprint(jwk) };
  return client(`key-${alg}`, 'private_key_jwt', { jwks: { keys: [key] }, token_endpoint_auth_signing_alg: alg });
});
const certificate = new X509Certificate(read('client.pem'));
const certified = { ...certificate.publicKey.export({ format: 'jwk' }), x5c: [certificate.raw.toString('base64')] };

// The token's algorithm is the last part of the client's name, if it is one.
const tokenAlgorithm = ({ clientId }) => Object.keys(kinds).find((alg) => clientId.endsWith(alg)) ?? 'RS256';
const peer = (ctx) => ctx.req.socket.getPeerX509Certificate?.();

const server = createServer({
  cert: read('server.pem'), key: read('server.key'), ca: read('ca.pem'), requestCert: true, rejectUnauthorized: false,
});
server.listen(0, '127.0.0.1', () => {
  const issuer = `https://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      client('basic-RS256', 'client_secret_basic', { client_secret: secret }),
      client('post-ES256', 'client_secret_post', { client_secret: secret }),
      ...byKey,
      client('tls', 'tls_client_auth', { tls_client_auth_subject_dn: 'CN=interop' }),
      client('self-signed', 'self_signed_tls_client_auth', { jwks: { keys: [certified] } }),
    ],
    clientAuthMethods: [
      'client_secret_basic', 'client_secret_post', 'private_key_jwt', 'tls_client_auth', 'self_signed_tls_client_auth',
    ],
    jwks: { keys: signing },
    scopes: ['api:read', 'api:write'],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      mTLS: {
        enabled: true,
        tlsClientAuth: true,
        selfSignedTlsClientAuth: true,
        getCertificate: (ctx) => peer(ctx)?.toString(),
        certificateAuthorized: (ctx) => ctx.req.socket.authorized,
        certificateSubjectMatches: (ctx, property, expected) => peer(ctx).subject === expected,
      },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (ctx, resource, of) => ({
          scope: 'api:read', accessTokenFormat: 'jwt', accessTokenTTL: 600, jwt: { sign: { alg: tokenAlgorithm(of) } },
        }),
      },
    },
  });
  // For whoever reads why a test failed.
  provider.on('grant.error', (ctx, error) => console.error(error.error, error.error_detail, error.cause?.message));
  server.on('request', provider.callback());
  console.log(issuer);
});
process.stdin.on('end', () => process.exit(0)).resume();
