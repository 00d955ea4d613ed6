# What MLflow, pg_dump and rclone read, from files: no secret is in an argument, where all users of a machine would see
# it. systemd says where the files are; compose has them in /run/secrets.
secrets=${KWS_SECRETS:-${CREDENTIALS_DIRECTORY:-/run/secrets}}

export PGUSER="${PGUSER:-mlflow}" PGDATABASE="${PGDATABASE:-mlflow}"
if [ -e "$secrets/postgres_password" ]; then # without: PostgreSQL on this machine knows the user
	PGPASSWORD=$(cat "$secrets/postgres_password")
	export PGPASSWORD
fi
export AWS_SHARED_CREDENTIALS_FILE="$secrets/s3"
export RCLONE_S3_PROVIDER=Other RCLONE_S3_ENV_AUTH=true RCLONE_S3_NO_CHECK_BUCKET=true
export RCLONE_S3_ENDPOINT="${MLFLOW_S3_ENDPOINT_URL:-}" RCLONE_S3_REGION="${AWS_DEFAULT_REGION:-us-east-1}"
if [ -z "${MLFLOW_S3_ENDPOINT_URL:-}" ]; then
	unset MLFLOW_S3_ENDPOINT_URL
	RCLONE_S3_PROVIDER=AWS
fi
