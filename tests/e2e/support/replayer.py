"""Replays captured SDK requests, and says from the captures alone what must be stored afterwards."""

import base64
import collections
import http.client
import json
import pathlib
import urllib.parse

SAMPLES = pathlib.Path(__file__).resolve().parents[3] / "data" / "sdk"
RECOMPUTED = {"host", "connection", "content-length", "accept-encoding", "transfer-encoding"}


def read_capture(name):
    with open(SAMPLES / f"{name}.jsonl", encoding="utf8") as lines:
        return [json.loads(line) for line in lines]


def body_of(request):
    if request.get("body_b64"):
        return base64.b64decode(request["body_b64"])
    return (request.get("body") or "").encode()


def send(port, request, read_reply=True):
    """Sends one captured request as it was; returns status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        target = request["path"] + ("?" + request["query"] if request.get("query") else "")
        connection.putrequest(request["method"], target, skip_accept_encoding=True)
        for name, value in request["headers"]:
            if name.lower() not in RECOMPUTED:
                connection.putheader(name, value)
        body = body_of(request)
        if body or request["method"] == "POST":
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body or None)
        if not read_reply:
            return None
        reply = connection.getresponse()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
    finally:
        connection.close()


def complaint(request, reply):
    """Why this reply would not do for the SDK, or None."""
    status, headers, body = reply
    where = f"{request['sdk']} {request['scenario']} {request['method']} {request['path']}"
    if request["method"] == "OPTIONS":
        asked = next((v for k, v in request["headers"] if k.lower() == "access-control-request-headers"), "")
        allowed = {name.strip() for name in headers.get("access-control-allow-headers", "").lower().split(",")}
        missing = {name.strip() for name in asked.lower().split(",") if name.strip()} - allowed
        origin = next(v for k, v in request["headers"] if k.lower() == "origin")
        if not 200 <= status < 300 or missing or headers.get("access-control-allow-origin") != origin:
            return f"{where}: preflight answered {status} {headers}, missing {missing}"
        return None
    if status != 200:
        return f"{where}: answered {status} {body[:200]}"
    if request["sdk"].startswith("jitsu"):
        try:
            json.loads(body)
        except ValueError:
            return f"{where}: the reply is no JSON: {body[:200]}"
    return None


def events_of(request):
    """The events in a captured request."""
    if request["method"] == "GET":
        return [dict(urllib.parse.parse_qsl(request["query"], keep_blank_values=True))]
    if request["method"] != "POST":
        return []
    document = json.loads(body_of(request))
    if isinstance(document, dict) and "data" in document and "schema" in document:
        return document["data"]
    return document if isinstance(document, list) else [document]


def jitsu_time(event):
    return event.get("utc_time") or event.get("eventn_ctx", {}).get("utc_time")


def identity(event):
    """What makes two deliveries the same event; None when nothing does and each delivery counts."""
    if "eid" in event:
        return event["eid"]
    if "e" in event:
        return None
    if jitsu_time(event) is None:
        return None
    return json.dumps(event, sort_keys=True)


def is_page_view(event):
    return event.get("e") == "pv" or event.get("event_type") in ("pageview", "page")


Expected = collections.namedtuple("Expected", "events page_views ids")


def expected_of(names):
    """Events, page views and (for trackers that send one) ids which the captures hold, retries counted once."""
    seen, events, page_views, ids = set(), 0, 0, set()
    for name in names:
        for request in read_capture(name):
            for event in events_of(request):
                key = identity(event)
                if key is not None and key in seen:
                    continue
                seen.add(key)
                events += 1
                page_views += is_page_view(event)
                if "eid" in event:
                    ids.add(event["eid"])
    return Expected(events, page_views, ids)
