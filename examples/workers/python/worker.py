"""A worker on a Tenon cluster, and a program that starts a workflow on it.

Mutual TLS, a token that is renewed while the process runs, and a namespace, all
from the environment: the variables that every Temporal SDK and the temporal CLI
read, and TENON_TOKEN_FILE, a file that is replaced before its token expires.

    pip install temporalio
    python worker.py worker
    python worker.py client 1001
"""

import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.service import TLSConfig
from temporalio.worker import Worker

TASK_QUEUE = "orders"
LOOK_EVERY = 2.0  # seconds between two looks at a file


def need(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        sys.exit(f"{name} is not set")
    return value


@activity.defn
async def charge(order: str) -> str:
    return f"charged {order}"


# OrderWorkflow is the same in every language of these examples.
@workflow.defn
class OrderWorkflow:
    @workflow.run
    async def run(self, order: str) -> str:
        return await workflow.execute_activity(
            charge, order, start_to_close_timeout=timedelta(minutes=1)
        )


def read_token() -> str:
    token = Path(need("TENON_TOKEN_FILE")).read_text().strip()
    if not token:
        raise ValueError("the token file is empty")
    return token


async def connect() -> Client:
    """Connects with the certificates and the token as they are now."""
    return await Client.connect(
        need("TEMPORAL_ADDRESS"),
        namespace=os.environ.get("TEMPORAL_NAMESPACE", "default"),
        api_key=read_token(),
        tls=TLSConfig(
            # The name that every server of a Tenon cluster carries in its certificate.
            domain=os.environ.get("TEMPORAL_TLS_SERVER_NAME", "temporal-server"),
            server_root_ca_cert=Path(need("TEMPORAL_TLS_SERVER_CA_CERT_PATH")).read_bytes(),
            client_cert=Path(need("TEMPORAL_TLS_CLIENT_CERT_PATH")).read_bytes(),
            client_private_key=Path(need("TEMPORAL_TLS_CLIENT_KEY_PATH")).read_bytes(),
        ),
    )


async def renew(worker: Worker) -> None:
    """Takes over a new token, and a new certificate, without a restart.

    A file that cannot be read leaves the last one in use: it expires by itself.
    """
    certificate = Path(need("TEMPORAL_TLS_CLIENT_CERT_PATH"))
    token, shown = read_token(), certificate.read_bytes()
    while True:
        await asyncio.sleep(LOOK_EVERY)
        try:
            if certificate.read_bytes() != shown:
                # A connection keeps the certificate that it began with.
                worker.client = await connect()
                token, shown = read_token(), certificate.read_bytes()
                print("certificate renewed", file=sys.stderr)
            elif (now := read_token()) != token:
                worker.client.api_key = now
                token = now
                print("token renewed", file=sys.stderr)
        except (OSError, ValueError, RuntimeError) as err:
            print(f"not renewed, will be tried again: {err}", file=sys.stderr)


async def run_worker() -> None:
    worker = Worker(
        await connect(), task_queue=TASK_QUEUE, workflows=[OrderWorkflow], activities=[charge]
    )
    renewing = asyncio.create_task(renew(worker))
    print("ready", flush=True)
    try:
        await worker.run()
    finally:
        renewing.cancel()


async def run_client(order: str) -> None:
    client = await connect()
    print(
        await client.execute_workflow(
            OrderWorkflow.run, order, id=f"order-{order}", task_queue=TASK_QUEUE
        )
    )


def main() -> None:
    match sys.argv[1:]:
        case ["worker"]:
            asyncio.run(run_worker())
        case ["client", order]:
            asyncio.run(run_client(order))
        case _:
            sys.exit("usage: worker.py worker | client ORDER")


if __name__ == "__main__":
    main()
