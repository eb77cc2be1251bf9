"""The fields of a ``CodingTask`` manifest (``agents.wearn.dev/v1alpha1``), under the names of its file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

API_VERSION = "agents.wearn.dev/v1alpha1"
KIND = "CodingTask"

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=253)]
"""A name as Kubernetes takes it."""

_Text = Annotated[str, Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Metadata(_Part):
    """Whose task it is; labels and annotations are taken and change nothing."""

    name: Name
    namespace: Name | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class GitHubIssue(_Part):
    """The issue that a task came from."""

    owner: _Text
    repo: _Text
    issue_number: int = Field(alias="issueNumber", ge=1)


class Chat(_Part):
    """The conversation that a task came from."""

    session_id: str = Field(alias="sessionId", max_length=250)
    user_id: str = Field(alias="userId", max_length=250)


class Source(_Part):
    """Where a task came from."""

    type: Literal["github-issue", "chat"]
    github: GitHubIssue | None = None
    chat: Chat | None = None

    @model_validator(mode="after")
    def _details(self) -> Source:
        wanted = "github" if self.type == "github-issue" else "chat"
        other = "chat" if wanted == "github" else "github"
        if getattr(self, other) is not None:
            raise PydanticCustomError(
                "source", "{other} does not belong to type {type}", {"other": other, "type": self.type}
            )
        if self.type == "github-issue" and self.github is None:
            raise PydanticCustomError("source", "type github-issue needs github: owner, repo and issueNumber")
        return self


class Repository(_Part):
    """Where the work is done."""

    url: _Text
    branch: str | None = None
    work_branch: str | None = Field(default=None, alias="workBranch")


class Resources(_Part):
    """Limits of a pod."""

    cpu: str | int | float | None = None
    memory: str | int | None = None
    storage: str | int | None = None


class SecretReference(_Part):
    """A key of a Kubernetes secret."""

    name: _Text
    key: _Text


class Model(_Part):
    """Models of the steps."""

    default: str | None = None
    plan: str | None = None
    implement: str | None = None
    test: str | None = None
    pull_request: str | None = Field(default=None, alias="pullRequest")
    max_turns: int | None = Field(default=None, alias="maxTurns", ge=1, le=500)


class Spec(_Part):
    """What is to be done, and how."""

    source: Source
    repository: Repository
    prompt: _Text
    agent_image: str | None = Field(default=None, alias="agentImage")
    resources: Resources = Field(default_factory=Resources)
    anthropic_api_key_ref: SecretReference | None = Field(default=None, alias="anthropicApiKeyRef")
    git_credentials_ref: SecretReference | None = Field(default=None, alias="gitCredentialsRef")
    model: Model = Field(default_factory=Model)
    max_retries: int | None = Field(default=None, alias="maxRetries", ge=0, le=10)
    step_timeout: str | None = Field(default=None, alias="stepTimeout")
    service_account_name: str | None = Field(default=None, alias="serviceAccountName")
    node_selector: dict[str, Any] | None = Field(default=None, alias="nodeSelector")
    tolerations: list[Any] | None = None


class CodingTaskManifest(_Part):
    """A whole manifest."""

    api_version: Literal["agents.wearn.dev/v1alpha1"] = Field(alias="apiVersion")
    kind: Literal["CodingTask"]
    metadata: Metadata
    spec: Spec
