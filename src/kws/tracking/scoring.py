"""MLflow's server of a model: `python scoring.py MODEL PORT`. Requests on which MLflow's own fails get status 400.

`make serve` runs this file in a process of its own. It imports no module of kws: those of the model come with it.
"""

import sys
from collections.abc import Awaitable, Callable

import mlflow
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from mlflow.pyfunc import scoring_server


def application(model: str) -> FastAPI:
    """MLflow's application for a model, such as `models:/kws@champion`."""
    app: FastAPI = scoring_server.init(mlflow.pyfunc.load_model(model))

    @app.middleware("http")
    async def refuse(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.method == "POST" and "content-type" not in request.headers:
            return JSONResponse({"message": "no content type: give application/json"}, 415)
        try:
            return await answer(request)
        except (RecursionError, ValueError) as error:  # JSON that is too deep, or has a number of 5,000 digits
            return JSONResponse({"message": f"{type(error).__name__}: {error}"[:500]}, 400)

    return app


if __name__ == "__main__":
    uvicorn.run(application(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
