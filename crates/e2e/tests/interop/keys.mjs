// Keys of a client, made by nobody here:  node keys.mjs FOLDER
//
// Writes FOLDER/ALGORITHM.pem (PKCS#8) for each algorithm, and the public halves as FOLDER/jwks.json.
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const folder = process.argv[2];
const kinds = {
  RS256: ['rsa', { modulusLength: 2048 }],
  ES256: ['ec', { namedCurve: 'P-256' }],
  EdDSA: ['ed25519', {}],
};
const keys = Object.entries(kinds).map(([alg, kind]) => {
  const { privateKey, publicKey } = generateKeyPairSync(...kind);
  writeFileSync(join(folder, `${alg}.pem`), privateKey.export({ type: 'pkcs8', format: 'pem' }));
  return publicKey.export({ format: 'jwk' });
});
writeFileSync(join(folder, 'jwks.json'), JSON.stringify({ keys }));
