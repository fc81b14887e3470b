"""What all pages of the studio share."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.requests import Request

from kamerton.i18n.language import Language
from kamerton.studio.follow import LiveCourses
from kamerton.studio.guard import Session
from kamerton.studio.jobs import Jobs
from kamerton.studio.listing import Listing
from kamerton.studio.prepare import Preparations
from kamerton.studio.serving import ModelServer
from kamerton.studio.uploads import Uploads
from kamerton.studio.workspace import Workspace


@dataclass
class Studio:
    """The workspace, who was let in, and what is known of the runs."""

    workspace: Workspace
    session: Session
    language: Language
    """Where a browser asks for none of ours."""
    address: str
    jobs: Jobs = field(init=False)
    uploads: Uploads = field(init=False)
    preparations: Preparations = field(init=False)
    listing: Listing = field(init=False)
    models: ModelServer = field(init=False)
    courses: LiveCourses = field(init=False, default_factory=LiveCourses)
    """Of the trainings that pages follow."""
    stopping: bool = False
    """Whether the server ends: streams end with it."""

    def __post_init__(self) -> None:
        folder = self.workspace.folder
        self.jobs, self.uploads, self.preparations = Jobs(folder), Uploads(folder), Preparations(folder)
        self.listing = Listing(self.workspace, self.jobs)
        self.models = ModelServer(self.workspace.folder)


def studio_of(request: Request) -> Studio:
    """Return what the page of a request shares with the others."""
    studio: Studio = request.app.state.studio
    return studio
