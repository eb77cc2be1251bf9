#!/bin/sh
# Put the agent image where k3s imports it from: at its start, and whenever the file changes while it runs.
# Usage: export-image.sh IMAGE FOLDER
set -eu

image=$1
folder=$2

mkdir -p "$folder"
id=$(docker image inspect --format '{{.Id}}' "$image") || {
    echo "There is no image $image; build it with: docker compose build agent-image" >&2
    exit 1
}
if [ -f "$folder/agent.tar" ] && [ "$(cat "$folder/agent.id" 2>/dev/null)" = "$id" ]; then
    echo "$image $id is there already"
    exit 0
fi
# Under another ending until it is whole: k3s must not read half of it.
rm -f "$folder/agent.id" "$folder/agent.part"
docker image save --output "$folder/agent.part" "$image"
mv "$folder/agent.part" "$folder/agent.tar"
printf '%s' "$id" > "$folder/agent.id"
echo "$image $id is exported"
