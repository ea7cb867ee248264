"""Apps that go to the limit: copies of the worker, no memory left, and a server that is broken itself."""

import pytest

from tests.clients import http_get


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize(("child", "status"), [("exit", "7"), ("raise", "1"), ("generator", "0"), ("", "0")])
def test_a_copy_that_the_app_forks_ends_without_a_word_to_the_client(start_worker, child, status, threads):
    worker = start_worker(threads=threads)
    with worker.client() as client:
        assert client.get(f"/fork?{child}").text == "from the parent"
        assert client.get("/reaped").text == status
        assert client.get("/").text == "hello"
    worker.retire(5)
    assert worker.wait(5) == 0
    assert ("a child's end" in worker.log) == (child == "raise")


@pytest.mark.parametrize("threads", [1, 4])
def test_who_asks_for_more_memory_than_there_is_gets_500_and_the_worker_goes_on(start_worker, threads):
    worker = start_worker(threads=threads)
    for _ in range(2):
        assert http_get(worker.http, "/hog").status == 500
        assert http_get(worker.http, "/").text == "hello"
    assert worker.log.count("the app raised MemoryError") == 2


def test_a_worker_whose_leader_fails_ends_and_can_be_replaced(start_worker):
    worker = start_worker(threads=2)
    with worker.client() as client:
        client.send_request("GET", "/sabotage")
        assert worker.wait(10) == 1
    assert "a thread of the worker failed" in worker.log
