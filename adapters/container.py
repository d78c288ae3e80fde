"""The composition root. Only this module imports dependency_injector."""

import os
from collections.abc import Mapping
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dependency_injector import containers, providers

from adapters.clock import new_id, utc_now
from adapters.http.app import create_app
from adapters.http.dependencies import ComponentStatus, HttpOptions, UseCases
from adapters.http.middleware.admission import AdmissionController
from adapters.http.middleware.http_protocol import bounded_protocol
from adapters.http.middleware.request_limits import HeaderLimits, RequestLimits
from adapters.http.problems.catalog import REJECTIONS
from adapters.lifespan import Lifespan
from adapters.observability.logging import log_request
from adapters.observability.metrics import Metrics
from adapters.observability.tracing_config import create_tracer
from adapters.postgres.pool import Database, DatabaseOptions
from adapters.postgres.schema.readiness import ReadinessMonitor
from adapters.postgres.unit_of_work import SqlAlchemyStorage
from adapters.settings import Settings, require_url
from application.api_key_tokens import PepperSet, generate_secret
from application.api_keys import ApiKeyService
from application.audit import AuditService
from application.authentication import Authenticator
from application.posts import PostService
from application.retention import RetentionRule, RetentionService
from application.transactions import RetryPolicy
from application.user_export import UserExportService
from application.users import UserService

if TYPE_CHECKING:
    from adapters.observability.tracing import Tracer

T = TypeVar("T")


class ReadinessProbe:
    """The readiness of the service and the last known readiness of its dependencies."""

    def __init__(self, monitor: ReadinessMonitor) -> None:
        self._monitor = monitor
        self._is_draining = False

    def mark_draining(self) -> None:
        """Report the service as not ready, because the process is about to end."""
        self._is_draining = True

    @property
    def is_ready(self) -> bool:
        """Whether all components are ready."""
        return not self._is_draining and all(ready for ready, _ in self._monitor.last_result.values())

    async def __call__(self) -> Mapping[str, ComponentStatus]:
        """Return the status of each component by name."""
        service = ComponentStatus(ready=not self._is_draining, detail="draining" if self._is_draining else "serving")
        return {"service": service} | {
            name: ComponentStatus(*state) for name, state in self._monitor.last_result.items()
        }


def with_pool_metrics(metrics: Metrics, database: Database) -> Metrics:
    """Add the usage of the connection pool to the metrics, and return them."""
    metrics.set_pool_source(lambda: database.usage)
    return metrics


def with_tracing(service: T, tracer: "Tracer | None") -> T:
    """Return the service, with a span around each use case if tracing is enabled."""
    return service if tracer is None else tracer.wrap_service(service)


def retention_policy(settings: Settings) -> Mapping[RetentionRule, timedelta]:
    """Return the retention times of the rules that are on."""
    days = {
        RetentionRule.DRAFTS: settings.draft_retention_days,
        RetentionRule.ARCHIVED_POSTS: settings.archived_post_retention_days,
        RetentionRule.INACTIVE_USERS: settings.inactive_user_retention_days,
        RetentionRule.AUDIT_ENTRIES: settings.audit_retention_days,
    }
    return {rule: timedelta(days=number) for rule, number in days.items() if number is not None}


class Container(containers.DeclarativeContainer):
    """The object graph of the service. Each object is created once, on first use."""

    settings = providers.Dependency(instance_of=Settings)
    cursor_secret = providers.Dependency(instance_of=bytes)
    peppers = providers.Dependency(instance_of=PepperSet)
    version = providers.Object(metadata.version("hexapost"))
    environment = providers.Object(os.environ)

    tracer = providers.Singleton(create_tracer, environment, version)
    metrics_directory: providers.Provider[Path | None] = providers.Object(None)
    """The directory in which the worker processes share their metrics."""
    metrics_recorder = providers.Singleton(Metrics, version=version, rejections=REJECTIONS, directory=metrics_directory)
    database_options = providers.Singleton(
        DatabaseOptions,
        pool_size=settings.provided.db_pool_size,
        pool_timeout=settings.provided.db_pool_timeout_seconds,
        connect_timeout=settings.provided.db_connect_timeout_seconds,
        max_lifetime=settings.provided.db_connection_max_lifetime_seconds,
        max_idle=settings.provided.db_connection_max_idle_seconds,
        attempt_timeout=settings.provided.db_attempt_timeout_seconds,
        prepared_statements=settings.provided.db_prepared_statements,
        statement_timeout=settings.provided.db_statement_timeout_seconds,
        idle_in_transaction_timeout=settings.provided.db_idle_in_transaction_timeout_seconds,
    )
    database = providers.Singleton(
        Database,
        providers.Callable(require_url, settings.provided.database_url),
        database_options,
        errors=metrics_recorder.provided.count_database_error,
        statements=providers.Callable(lambda tracer: tracer and tracer.statement_span, tracer),
    )
    metrics = providers.Singleton(with_pool_metrics, metrics_recorder, database)
    storage = providers.Singleton(SqlAlchemyStorage, database)
    retry = providers.Singleton(
        RetryPolicy,
        max_elapsed=settings.provided.db_retry_deadline_seconds,
        observer=metrics_recorder.provided.count_retry,
    )
    clock = providers.Object(utc_now)
    new_id = providers.Object(new_id)
    authenticator = providers.Singleton(
        Authenticator,
        storage=storage,
        peppers=peppers,
        cache_ttl=settings.provided.api_key_cache_seconds,
        retry=retry,
    )
    users = providers.Singleton(
        UserService,
        storage=storage,
        clock=clock,
        new_id=new_id,
        retry=retry,
        on_delete=authenticator.provided.invalidate_user,
    )
    posts = providers.Singleton(PostService, storage=storage, clock=clock, new_id=new_id, retry=retry)
    audit = providers.Singleton(AuditService, storage=storage, retry=retry)
    api_keys = providers.Singleton(
        ApiKeyService,
        storage=storage,
        clock=clock,
        new_id=new_id,
        generate_secret=providers.Object(generate_secret),
        peppers=peppers,
        authenticator=authenticator,
        retry=retry,
    )
    user_export = providers.Singleton(UserExportService, storage, retry)
    retention = providers.Singleton(
        RetentionService,
        storage=storage,
        policy=providers.Callable(retention_policy, settings),
        retry=retry,
        on_purge=metrics_recorder.provided.count_purged,
        on_delete_user=authenticator.provided.invalidate_user,
    )
    readiness_monitor = providers.Singleton(ReadinessMonitor, database)
    readiness = providers.Singleton(ReadinessProbe, readiness_monitor)
    use_cases = providers.Singleton(
        UseCases,
        users=providers.Callable(with_tracing, users, tracer),
        posts=providers.Callable(with_tracing, posts, tracer),
        api_keys=providers.Callable(with_tracing, api_keys, tracer),
        user_export=user_export,
        audit=providers.Callable(with_tracing, audit, tracer),
        authenticator=authenticator,
        readiness=readiness,
    )
    admission = providers.Singleton(AdmissionController, settings.provided.max_concurrent_requests)
    request_limits = providers.Singleton(
        RequestLimits,
        max_body_bytes=settings.provided.max_body_bytes,
        max_json_depth=settings.provided.max_json_depth,
        body_timeout=settings.provided.body_timeout_seconds,
        request_timeout=settings.provided.request_timeout_seconds,
        export_timeout=settings.provided.export_timeout_seconds,
    )
    header_limits = providers.Singleton(
        HeaderLimits,
        max_headers=settings.provided.max_headers,
        max_header_bytes=settings.provided.max_header_bytes,
        timeout=settings.provided.header_timeout_seconds,
    )
    http_options = providers.Singleton(
        HttpOptions,
        cursor_secret=cursor_secret,
        limits=request_limits,
        admission=admission,
        idempotency_retention=providers.Factory(timedelta, hours=settings.provided.idempotency_retention_hours),
        rate_limit=settings.provided.rate_limit,
        rate_limit_store=settings.provided.rate_limit_store,
        cors_origins=settings.provided.cors_origins,
        root_path=settings.provided.root_path,
        version=version,
        access_log=providers.Object(log_request),
        metrics=metrics,
        start_span=providers.Callable(lambda tracer: tracer and tracer.start_request_span, tracer),
    )
    protocol = providers.Singleton(
        bounded_protocol, header_limits, write_timeout=settings.provided.write_timeout_seconds
    )
    lifespan = providers.Singleton(
        Lifespan,
        run_readiness_monitor=readiness_monitor.provided.run,
        database=database,
        authenticator=authenticator,
        retention=providers.Callable(with_tracing, retention, tracer),
        purge_interval=settings.provided.purge_interval_seconds,
        metrics=metrics,
        shutdown_tracing=providers.Callable(lambda tracer: tracer and tracer.close, tracer),
        drain_log=providers.Object(log_request.drain),
    )
    app = providers.Singleton(create_app, use_cases, http_options, lifespan=lifespan)
