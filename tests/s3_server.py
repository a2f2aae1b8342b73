"""A real S3 server on this machine, whose requests are counted and can be made to fail."""

import itertools
import logging
import socket

import boto3
from counted_bucket import CountedBucket
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

#: What a client needs to take the server for its own.
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Bucket(CountedBucket):
    """A bucket of moto's, and a client that looks at it."""

    def __init__(self, name, client):
        super().__init__(name, f"s3://{name}")
        self._client = client

    def objects(self, prefix=""):
        listing = self._client.list_objects_v2(Bucket=self.name, Prefix=prefix)
        keys = [item["Key"] for item in listing.get("Contents", [])]
        return {k: self._client.get_object(Bucket=self.name, Key=k)["Body"].read() for k in keys}

    def put(self, key, content):
        self._client.put_object(Bucket=self.name, Key=key, Body=content)

    def remove(self, key):
        self._client.delete_object(Bucket=self.name, Key=key)

    def put_many(self, keys):
        [backend] = {id(b): b for b in s3_backends["123456789012"].values()}.values()
        for key in keys:
            backend.put_object(self.name, key, b"")


def _kind(environ):
    """What a request asks for."""
    method, query = environ["REQUEST_METHOD"], environ["QUERY_STRING"]
    if "x-amz-copy-source" in str(environ).lower():
        return "copy"
    return "list" if "list-type" in query else method.lower()


class S3Server:
    """moto's server, with a gate before it.

    Attributes:
        address_variable: The variable of the environment that leads to it.
    """

    scheme, address_variable = "s3", "AWS_ENDPOINT_URL"

    def __init__(self, patch):
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        for name, value in {**ENVIRONMENT, self.address_variable: self.url}.items():
            patch.setenv(name, value)
        self._numbers, self._buckets = itertools.count(), {}
        self._client = boto3.client("s3")
        self._app = self._server._server.app
        self._server._server.app = self._gate

    def new_bucket(self):
        """A bucket that is empty."""
        name = f"bucket-{next(self._numbers)}"
        self._client.create_bucket(Bucket=name)
        bucket = self._buckets[name] = Bucket(name, self._client)
        return bucket

    def stop(self):
        """End the server."""
        self._server.stop()

    def _gate(self, environ, start_response):
        """Count a request, and let befall it what is planned."""
        bucket = self._buckets.get(environ["PATH_INFO"].split("/")[1])
        ours = "boto3" not in environ.get("HTTP_USER_AGENT", "").lower()
        if bucket is None or not ours:
            return self._app(environ, start_response)
        fault = bucket.next_fault(_kind(environ))
        if fault:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if fault == "slow down":
            start_response("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code><Message>Please reduce it.</Message></Error>"]
        if fault == "denied":
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"]
        if fault == "drop":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError
        if fault == "cut short":
            whole = b"".join(self._app(environ, start_response))
            return [whole[: len(whole) // 2]]
        return self._app(environ, start_response)
