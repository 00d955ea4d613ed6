"""MLflow's store in the project's root, and how it follows a project that is renamed, moved or copied."""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kws.tracking.run import EXPERIMENT

DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"  # in the project's root
LOCK = ".mlflow.lock"  # likewise: held by whoever creates or changes the store
ADDRESSES = (  # the columns in which MLflow keeps absolute addresses of files
    *(("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location")),
    *(("model_versions", "source"), ("model_versions", "storage_location")),
)
# Tags that MLflow would fill with folders of this machine: the program, and where git has the project from
CODE, ORIGIN = "mlflow.source.name", "mlflow.source.git.repoURL"


def follow_project(root: Path) -> bool:
    """Points the store to the artifacts beside it, if it was made in another folder. The caller holds the lock.

    MLflow keeps absolute addresses. In a renamed project they lead nowhere. In a copy they lead into the original, and
    the copy would write there.

    Args:
        root: the project's, with a store that has MLflow's tables.

    Returns:
        Whether it was made in another folder.
    """
    with closing(sqlite3.connect(root / DATABASE)) as store, store:
        row = store.execute("SELECT artifact_location FROM experiments WHERE name = ?", [EXPERIMENT]).fetchone()
        if not row or not row[0].endswith(f"/{ARTIFACTS}") or urlsplit(row[0]).scheme != "file":
            return False  # the user chose another place
        old = Path(unquote(urlsplit(row[0]).path)).parent
        if old == root:
            return False
        for before, now in ((f"{old.as_uri()}/", f"{root.as_uri()}/"), (f"{old}/", f"{root}/")):
            for table, column in ADDRESSES:
                store.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                    [now, len(before) + 1, len(before), before],
                )
    return True
