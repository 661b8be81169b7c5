"""Routes of sessions: of the API below /v1/runners/, and of pages."""

from django.urls import path

from sessions.api import SessionViewSet
from sessions.api_batches import BatchViewSet
from sessions.api_executors import ExecutorViewSet
from sessions.api_harnesses import HarnessRecallViewSet
from sessions.api_insight import InsightViewSet
from sessions.api_retries import RetryViewSet
from sessions.api_summary import SummaryViewSet
from sessions.pages import (
    actions,
    batches,
    bulk,
    contents,
    detail,
    dispatch,
    executors,
    frame,
    harnesses,
    lists,
)

_ONE = "sessions/<sess:session_id>"
_EXECUTOR = "runners/executors/<exec:executor_id>"
_HARNESS = "runners/profiles/<prof:profile_id>/harnesses/<harn:harness_id>"

api_urlpatterns = [
    path("sessions", SessionViewSet.as_view({"get": "list", "post": "create"})),
    path("sessions/claim", SessionViewSet.as_view({"post": "claim_next"})),
    path("sessions/bulk/cancel", BatchViewSet.as_view({"post": "cancel"})),
    path("sessions/bulk/retry", BatchViewSet.as_view({"post": "retry"})),
    path("batches", BatchViewSet.as_view({"get": "list"})),
    path("batches/<batch:batch_id>", BatchViewSet.as_view({"get": "retrieve"})),
    path("batches/<batch:batch_id>/items", BatchViewSet.as_view({"get": "items"})),
    path("batches/<batch:batch_id>/stop", BatchViewSet.as_view({"post": "stop"})),
    path(_ONE, SessionViewSet.as_view({"get": "retrieve", "patch": "amend"})),
    path(f"{_ONE}/claim", SessionViewSet.as_view({"post": "claim"})),
    path(f"{_ONE}/heartbeat", SessionViewSet.as_view({"post": "heartbeat"})),
    path(f"{_ONE}/checkpoint", SessionViewSet.as_view({"post": "checkpoint"})),
    path(f"{_ONE}/checkpoints", SessionViewSet.as_view({"get": "checkpoints"})),
    path(f"{_ONE}/transitions", SessionViewSet.as_view({"get": "transitions"})),
    path(f"{_ONE}/attempts", SessionViewSet.as_view({"get": "attempts"})),
    path(f"{_ONE}/pause", SessionViewSet.as_view({"post": "pause"})),
    path(f"{_ONE}/resume", SessionViewSet.as_view({"post": "resume"})),
    path(f"{_ONE}/cancel", SessionViewSet.as_view({"post": "cancel"})),
    path("stats", InsightViewSet.as_view({"get": "stats"})),
    path("sessions/summary", SummaryViewSet.as_view({"get": "failures"})),
    path(f"{_ONE}/explain", InsightViewSet.as_view({"get": "explain"})),
    path(f"{_ONE}/refusals", InsightViewSet.as_view({"get": "refusals"})),
    path(f"{_ONE}/retry", RetryViewSet.as_view({"post": "retry"})),
    path(f"{_ONE}/disposition", RetryViewSet.as_view({"post": "decide"})),
    path("executors", ExecutorViewSet.as_view({"get": "list"})),
    path("executors/<exec:executor_id>", ExecutorViewSet.as_view({"get": "retrieve"})),
    path("executors/<exec:executor_id>/drain", ExecutorViewSet.as_view({"post": "drain"})),
    path("executors/<exec:executor_id>/undrain", ExecutorViewSet.as_view({"post": "undrain"})),
    path("executors/<exec:executor_id>/evict", ExecutorViewSet.as_view({"post": "evict"})),
    path(
        "profiles/<prof:profile_id>/harnesses/<harn:harness_id>/recall",
        HarnessRecallViewSet.as_view({"post": "recall"}),
    ),
]

page_urlpatterns = [
    path("runners/sessions", lists.index, name="sessions"),
    path("runners/sessions/bulk/cancel", bulk.cancel, name="bulk_cancel"),
    path("runners/sessions/bulk/retry", bulk.retry, name="bulk_retry"),
    path("runners/sessions/batches", batches.index, name="batches"),
    path("runners/sessions/batches/<batch:batch_id>", batches.batch, name="batch"),
    path("runners/sessions/batches/<batch:batch_id>/stop", batches.stop, name="batch_stop"),
    path("runners/sessions/new", dispatch.new, name="dispatch"),
    path(f"runners/{_ONE}", detail.detail, name="session"),
    path(f"runners/{_ONE}/head", frame.fragment, name="session_head"),
    path(f"runners/{_ONE}/cancel", actions.cancel, name="session_cancel"),
    path(f"runners/{_ONE}/input", contents.input_tab, name="session_input"),
    path(f"runners/{_ONE}/input.json", contents.input_file, name="session_input_file"),
    path(f"runners/{_ONE}/checkpoints", contents.checkpoints, name="session_checkpoints"),
    path(
        f"runners/{_ONE}/checkpoints/<int:number>", contents.checkpoint, name="session_checkpoint"
    ),
    path(
        f"runners/{_ONE}/checkpoints/<int:number>.json",
        contents.checkpoint_file,
        name="session_checkpoint_file",
    ),
    path(f"runners/{_ONE}/edit", actions.edit, name="session_edit"),
    path(f"runners/{_ONE}/force", actions.force, name="session_force"),
    path(f"runners/{_ONE}/retry", actions.retry, name="session_retry"),
    path(f"runners/{_ONE}/disposition", actions.disposition, name="session_disposition"),
    path(f"runners/{_ONE}/pause", actions.pause, name="session_pause"),
    path(f"runners/{_ONE}/resume", actions.resume, name="session_resume"),
    path("runners/executors", executors.index, name="executors"),
    path(_EXECUTOR, executors.detail, name="executor"),
    path(f"{_EXECUTOR}/drain", executors.drain, name="executor_drain"),
    path(f"{_EXECUTOR}/undrain", executors.undrain, name="executor_undrain"),
    path(f"{_EXECUTOR}/evict", executors.evict, name="executor_evict"),
    path(_HARNESS, harnesses.detail, name="harness"),
    path(f"{_HARNESS}/recall", harnesses.recall, name="harness_recall"),
]
