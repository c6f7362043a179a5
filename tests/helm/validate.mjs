// Validates Kubernetes objects by the schemas of npm's kubernetes-models.
//
//     node validate.mjs < documents.json
//
// The input is an array of objects. Writes one line for each fault, and ends with exit code 1 if there are any. Node
// looks for packages beside the script, so the tests copy it into the folder in which they are installed.
import { readFileSync } from "node:fs";

const packages = {
  "keda.sh": "@kubernetes-models/keda",
  "gateway.networking.k8s.io": "@kubernetes-models/gateway-api",
  "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
};
let faults = 0;

for (const document of JSON.parse(readFileSync(0, "utf8"))) {
  const group = document.apiVersion.split("/")[0];
  try {
    const models = await import(`${packages[group] ?? "kubernetes-models"}/${document.apiVersion}`);
    new models[document.kind](document).validate();
  } catch (error) {
    faults++;
    console.log(`${document.kind} ${document.metadata?.name}: ${error.message}`);
  }
}

process.exitCode = faults ? 1 : 0;
