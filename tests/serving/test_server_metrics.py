"""What Prometheus reads."""

from serving.server.metrics import Metrics
from serving.server.status import Code


def lines(metrics: Metrics, name: str) -> list[str]:
    return [line for line in metrics.page().split("\n") if line.startswith(name + "{")]


def test_a_histogram_counts_upwards() -> None:
    metrics = Metrics()
    for microseconds in (5, 15, 15, 1e12):
        metrics.record_request("m", "Predict", "GRPC", Code.OK, microseconds / 1e6)
    name = ":tensorflow:serving:request_latency"
    counts = [int(line.rpartition(" ")[2]) for line in lines(metrics, f"{name}_bucket")]
    assert counts[:3] == [1, 3, 3]
    assert counts == sorted(counts)
    assert counts[-1] == 4
    labels = '{model_name="m",API="Predict",entrypoint="GRPC"}'
    assert lines(metrics, f"{name}_count") == [f"{name}_count{labels} 4"]


def test_names_that_clients_make_up_do_not_fill_the_memory() -> None:
    metrics = Metrics()
    for number in range(1000):
        metrics.record_request(f"made-up-{number}", "Predict", "GRPC", Code.NOT_FOUND, 0.0)
    metrics.record_request("m", "Predict", "GRPC", Code.OK, 0.0)
    counts = lines(metrics, ":tensorflow:serving:request_count")
    assert len(counts) == Metrics.MAX_UNKNOWN_MODELS + 2
    assert ':tensorflow:serving:request_count{model_name="m",status="OK"} 1' in counts
    assert sum(int(line.rpartition(" ")[2]) for line in counts) == 1001


def test_labels_are_escaped() -> None:
    metrics = Metrics()
    metrics.record_request('a"\\\nb', "predict", "REST", Code.NOT_FOUND, 0.0)
    (line,) = lines(metrics, ":tensorflow:serving:request_count")
    assert 'model_name="a\\"\\\\\\nb"' in line
