// Says what is wrong with the values of custom resources: node validate.mjs DOCUMENTS.json
import { readFileSync } from "node:fs";
import * as certificates from "@kubernetes-models/cert-manager/cert-manager.io/v1";
import * as monitoring from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";

for (const document of JSON.parse(readFileSync(process.argv[2], "utf8"))) {
  const Model = { ...certificates, ...monitoring }[document.kind];
  try {
    new Model(document).validate();
  } catch (error) {
    console.log(`${document.kind} ${document.metadata.name}: ${error.message}`);
  }
}
