"""An order service: health with its dependencies, the release by name, a POST that must run once."""

import asyncio
import os
import tempfile

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

RELEASE = os.environ.get("ALCEDO_RELEASE", "none")
SLOT = os.environ.get("ALCEDO_SLOT", "none")

app = FastAPI()


async def disk_is_writable() -> bool:
    """Stands for the database: whatever the app cannot work without."""

    def write() -> bool:
        with tempfile.TemporaryFile() as file:
            return file.write(b"x") == 1

    try:
        return await asyncio.wait_for(asyncio.to_thread(write), timeout=0.3)
    except (OSError, asyncio.TimeoutError):
        return False


@app.get("/healthz")
async def healthz() -> JSONResponse:
    ok = await disk_is_writable()
    checks = {"disk": "ok" if ok else "failing"}
    body = {"status": "ok" if ok else "failing", "release": RELEASE, "checks": checks}
    return JSONResponse(body, status_code=200 if ok else 503)


@app.get("/v")
async def version() -> dict[str, str]:
    return {"release": RELEASE, "color_hint": SLOT}


@app.get("/")
async def index() -> dict[str, str]:
    return {"message": "hello", "release": RELEASE}


@app.post("/orders")
async def order(request: Request) -> dict[str, object]:
    body = await request.body()
    return {"accepted_bytes": len(body), "release": RELEASE}
