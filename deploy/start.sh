#!/bin/sh
# Starts MLflow with users and passwords. compose and systemd run this.
set -eu
here=$(dirname "$0")
. "$here/environment.sh"

MLFLOW_FLASK_SERVER_SECRET_KEY=$(cat "$secrets/flask_key")
MLFLOW_AUTH_ADMIN_PASSWORD=$(cat "$secrets/admin_password") # read at the first start only
export MLFLOW_FLASK_SERVER_SECRET_KEY MLFLOW_AUTH_ADMIN_PASSWORD
export MLFLOW_AUTH_CONFIG_PATH="$here/basic_auth.ini"
export MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false

# uvicorn ends a worker that is not ready after 5 s, and MLflow's take longer on a busy machine
exec mlflow server --app-name basic-auth \
	--host "${KWS_LISTEN:-127.0.0.1}" --port "${KWS_PORT:-5000}" \
	--workers "${KWS_WORKERS:-2}" --uvicorn-opts "--timeout-worker-healthcheck 120" \
	--allowed-hosts "$KWS_HOST,$KWS_HOST:*,localhost:*,127.0.0.1:*" --cors-allowed-origins "https://$KWS_HOST" \
	--backend-store-uri postgresql+psycopg:// --artifacts-destination "$KWS_ARTIFACTS"
