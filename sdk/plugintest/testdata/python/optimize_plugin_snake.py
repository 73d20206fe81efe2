"""A plugin of Optimize in Python: the protocol itself, without any library of Optimize.

It has one step, snake_copy, which copies an ONNX model and has the core grade the copy when it is given a dataset.
plugin_pb2 and plugin_pb2_grpc are generated from plugin.proto by grpcio-tools.
"""

import base64
import datetime
import json
import os
import queue
import sys
import tempfile
import threading
import time
from concurrent import futures

if os.environ.get("OPTIMIZE_PLUGIN") != "optimize-plugin-protocol":
    print("This is a plugin of Optimize: name it in a recipe's required_plugins.", file=sys.stderr)
    sys.exit(2)

# stdout is the handshake's alone; whatever prints goes to the log.
handshake = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import grpc
import msgpack
import onnx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import plugin_pb2 as pb
import plugin_pb2_grpc as rpc

provider = TracerProvider(resource=Resource.create({"service.name": "optimize-plugin-snake"}))
if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
tracer = provider.get_tracer("snake")

EXAMPLE = 'step "snake_copy" "copy" {\n  model = model.original\n}\n'
DATASET = 'step "snake_copy" "copy" {\n  model = model.original\n  data  = dataset.test\n}\n'


def error(summary, detail="", attribute=None):
    d = pb.Diagnostic(severity=pb.Diagnostic.SEVERITY_ERROR, summary=summary.splitlines()[0], detail=detail)
    if attribute:
        d.path.add().attribute = attribute
    return d


class Plugin(rpc.PluginServicer):
    def __init__(self):
        self.stops = {}

    def Describe(self, request, context):
        d = pb.DescribeResponse(name="snake", version="1.0.0", licence="MIT", requires_core=">= 0.1")
        s = d.steps.add(name="snake_copy", revision=1, markdown="Copy a model.", examples=[EXAMPLE, DATASET],
                        result_type=json.dumps(["object", {"bytes": "number", "top1": "number"}]).encode())
        s.schema.attributes.add(name="model", required=True, artifact="model", formats=["onnx"], markdown="What is copied.")
        s.schema.attributes.add(name="data", artifact="dataset", markdown="Samples with labels, to grade the copy with.")
        s.schema.attributes.add(name="level", type=b'"number"', default=b"1", markdown="How hard to try.")
        s.outputs.add(name="model", kind="model", format="onnx", markdown="The copy.")
        return d

    def config(self, request, context):
        if request.step_type != "snake_copy":
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no step {request.step_type!r}")
        try:
            # An unknown value is an extension type of MessagePack.
            c = msgpack.unpackb(request.config.msgpack, ext_hook=lambda code, data: None, strict_map_key=False)
        except Exception as e:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"the configuration cannot be read: {e}")
        if not isinstance(c, dict):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the configuration is no object")
        return c

    def Validate(self, request, context):
        c = self.config(request, context)
        out = pb.ValidateResponse()
        level = c.get("level")
        if isinstance(level, (int, float)) and not 1 <= level <= 3:
            out.diagnostics.append(error("level is out of range", "Write 1, 2 or 3.", "level"))
        return out

    def Plan(self, request, context):
        self.config(request, context)
        return pb.PlanResponse(fingerprint={"onnx": onnx.__version__})

    def Apply(self, request, context):
        self.config(request, context)
        if not request.run_id or request.run_id in self.stops:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the run id is empty or in use")
        stop = self.stops[request.run_id] = threading.Event()
        parent = TraceContextTextMapPropagator().extract(dict(context.invocation_metadata()))
        events = queue.Queue()

        def work():
            try:
                with tracer.start_as_current_span("copy", context=parent):
                    events.put(pb.ApplyEvent(done=self.copy(request, stop, events)))
            except Exception as e:
                events.put(pb.ApplyEvent(diagnostic=error("the copy failed", str(e))))
                events.put(pb.ApplyEvent(done=pb.Done()))

        threading.Thread(target=work, daemon=True).start()
        try:
            while True:
                try:
                    event = events.get(timeout=1)
                except queue.Empty:
                    event = pb.ApplyEvent(heartbeat=pb.Heartbeat())
                yield event
                if event.HasField("done"):
                    return
        finally:
            self.stops.pop(request.run_id, None)

    def copy(self, request, stop, events):
        source = request.inputs["model"].path
        try:
            model = onnx.load(source)
            onnx.checker.check_model(model)
        except Exception as e:
            events.put(pb.ApplyEvent(diagnostic=error("the model cannot be read", str(e), "model")))
            return pb.Done()
        events.put(pb.ApplyEvent(progress=pb.Progress(phase="copying", current=1, total=1, unit="models")))
        if stop.is_set():
            return pb.Done(stopped=True)
        target = os.path.join(request.out_dir, "model.onnx")
        with open(source, "rb") as f, open(target, "wb") as t:
            t.write(f.read())
        top1 = None
        if request.inputs["data"].path and request.HasField("host"):
            # Accuracy control: the core grades the candidate on another plugin's engine.
            with grpc.insecure_channel(request.host.address) as channel:
                r = rpc.HostStub(channel).Evaluate(pb.EvaluateRequest(
                    candidate=pb.Artifact(path=target, format="onnx"), baseline=request.inputs["model"], dataset=request.inputs["data"]),
                    metadata=[("optimize-token", request.host.token)])
            for d in r.diagnostics:
                events.put(pb.ApplyEvent(diagnostic=d))
            top1 = next((m.value for m in r.metrics if m.name == "top1"), None)
        result = msgpack.packb({"bytes": os.path.getsize(target), "top1": top1})
        return pb.Done(result=pb.Value(msgpack=result), outputs={"model": pb.Artifact(kind="model", format="onnx", path="model.onnx")})

    def Stop(self, request, context):
        if request.run_id in self.stops:
            self.stops[request.run_id].set()
        return pb.StopResponse()

    def Inspect(self, request, context):
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "snake inspects nothing")

    def Flush(self, request, context):
        provider.force_flush(1500)
        return pb.FlushResponse()


def certificate():
    """A key and a certificate for localhost, as PEM, and the certificate as DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(minutes=1))
            .not_valid_after(now + datetime.timedelta(days=365))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256()))
    return (key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
            cert.public_bytes(serialization.Encoding.PEM), cert.public_bytes(serialization.Encoding.DER))




def watch_parent():
    """Ends the process with its host, which is its parent."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


def main():
    key, pem, der = certificate()
    server = grpc.server(futures.ThreadPoolExecutor(16), options=[("grpc.max_receive_message_length", 16 << 20)])
    rpc.add_PluginServicer_to_server(Plugin(), server)
    checks = health.HealthServicer()
    checks.set("plugin", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    credentials = grpc.ssl_server_credentials([(key, pem)], root_certificates=os.environ["PLUGIN_CLIENT_CERT"].encode(), require_client_auth=True)
    folder = os.environ.get("PLUGIN_UNIX_SOCKET_DIR") or tempfile.mkdtemp()
    path = os.path.join(folder, "snake")
    server.add_secure_port("unix:" + path, credentials)
    server.start()
    threading.Thread(target=watch_parent, daemon=True).start()
    print(f"1|1|unix|{path}|grpc|{base64.b64encode(der).decode().rstrip('=')}", file=handshake, flush=True)
    server.wait_for_termination()


main()
