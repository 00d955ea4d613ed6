#!/bin/sh
# Brings back what backup.sh saved: ./restore.sh FOLDER/<time>.dump. Stop MLflow before, and start it again afterwards.
# All that is in the database is replaced, also tables of a newer MLflow. Artifacts that the backup does not have stay.
set -eu
. "$(dirname "$0")/environment.sh"
umask 077
[ -f "$1" ] || { echo "error: $1: no such backup" >&2; exit 1; }
sql=$(mktemp)
trap 'rm -f "$sql"' EXIT
pg_restore --no-owner --file="$sql" "$1"
rclone copy --quiet "$(dirname "$1")/artifacts" ":s3:${KWS_ARTIFACTS#s3://}"
# pg_restore --clean would not do: it drops no table that it does not know, and so none on which such a table depends
PGOPTIONS="--client-min-messages=warning" psql --no-psqlrc --quiet --output=/dev/null --set=ON_ERROR_STOP=1 \
	--single-transaction --command="DROP SCHEMA public CASCADE; CREATE SCHEMA public" --file="$sql"
echo "restored: $1"
