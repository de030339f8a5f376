#!/bin/sh
# Brings a cluster up, applies the example with stock kubectl, and shows it answering through its Service.
# Everything in it can be repeated; a second run changes nothing.
set -eu
cd "$(dirname "$0")/../.."
steer=.venv/bin/steer

"$steer" up "$@"
KUBECONFIG=$("$steer" kubeconfig)
export KUBECONFIG
echo
echo "kubectl apply -f deploy/examples/web.yaml"
kubectl apply -f deploy/examples/web.yaml
kubectl rollout status deployment/web --timeout=120s
kubectl get pods,services -o wide
address=$(kubectl get nodes -o jsonpath='{.items[0].status.addresses[?(@.type=="InternalIP")].address}')
port=$(kubectl get service web -o jsonpath='{.spec.ports[0].nodePort}')
echo
echo "curl http://$address:$port/"
for _ in 1 2 3 4 5 6; do curl -s --max-time 5 --retry 10 --retry-all-errors --retry-delay 1 "http://$address:$port/"; done
cat <<TEXT

It answers. What to try next:
  export KUBECONFIG=$KUBECONFIG
  kubectl exec -it deploy/web -- sh          # then, inside: wget -qO- http://web
  kubectl delete pod -l app=web --wait=false; kubectl get pods -w
  kubectl scale deployment/web --replicas=5
  $steer up --nodes 3 && kubectl get nodes
  $steer status
TEXT
