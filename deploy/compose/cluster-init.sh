#!/bin/sh
# Make in the cluster what the agents' pods need, and for Airflow a kubeconfig with no more rights than it needs.
# May be run again at any time: it brings everything up to date.
# Usage: cluster-init.sh SERVER MANIFESTS CREDENTIALS OUTPUT; KUBECONFIG names the administrator's.
set -eu

server=$1
manifests=$2
credentials=$3
output=$4
namespace=agent-system
account=airflow-worker
account_namespace=airflow

k() { kubectl --server "$server" --request-timeout 30s "$@"; }

# Server-side: a client-side apply would keep a second copy of the secrets, as an annotation.
apply() { k apply --server-side --force-conflicts "$@"; }

k apply --kustomize "$manifests/cluster"

# Not straight into apply: a pipe would hide that the first part failed.
secret=$(k create secret generic agent-secrets --namespace "$namespace" --from-file "$credentials/keys" \
    --dry-run=client --output yaml)
printf '%s\n' "$secret" | apply --filename -

if [ "$(cat "$credentials/mode")" = demo ]; then
    sed -e "s#STAND_IN_GITHUB#$STAND_IN_GITHUB#" -e "s#STAND_IN_MODEL#$STAND_IN_MODEL#" \
        "$manifests/demo-network-policy.yaml" | apply --filename -
else
    k delete networkpolicy stand-ins --namespace "$namespace" --ignore-not-found
fi

# The cluster fills the token in after the secret was made.
tries=60
until token=$(k get secret airflow-token --namespace "$account_namespace" --output 'jsonpath={.data.token}') \
    && [ -n "$token" ]; do
    tries=$((tries - 1))
    if [ "$tries" -eq 0 ]; then
        echo "The cluster made no token for service account $account_namespace/$account within a minute;" \
            "see: docker compose logs k3s" >&2
        exit 1
    fi
    sleep 1
done
authority=$(k get secret airflow-token --namespace "$account_namespace" --output 'jsonpath={.data.ca\.crt}')

umask 027
cat > "$output/kubeconfig.new" <<EOF
apiVersion: v1
kind: Config
current-context: agents
contexts:
  - name: agents
    context: {cluster: agents, user: $account, namespace: $namespace}
clusters:
  - name: agents
    cluster:
      server: $server
      certificate-authority-data: $authority
users:
  - name: $account
    user:
      token: $(printf '%s' "$token" | base64 -d)
EOF
mv "$output/kubeconfig.new" "$output/kubeconfig"
echo "The cluster is ready."
