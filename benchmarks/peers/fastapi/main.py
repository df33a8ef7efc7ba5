# ruff: noqa: INP001 - a program of its own
"""The same API with FastAPI and SQLModel, written as in their documentation."""

import os
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import jwt
from fastapi import Depends, FastAPI, HTTPException, Response, status
from fastapi.security import OAuth2PasswordBearer
from pydantic import AwareDatetime, StringConstraints
from sqlalchemy import DateTime, Text, func, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlmodel import BigInteger, Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

SECRET = os.environ["JWT_SECRET"]
TIMESTAMPTZ = DateTime(timezone=True)
NOW, NEW_ID = {"server_default": func.now()}, {"server_default": text("gen_random_uuid()")}

DATABASE_URL = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://")
engine = create_async_engine(DATABASE_URL, pool_size=int(os.environ["DATABASE_POOL_SIZE"]), max_overflow=0)
sessions = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)
app = FastAPI()
bearer = OAuth2PasswordBearer(tokenUrl="token")


class TaskCreate(SQLModel):
    title: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
    description: Annotated[str, StringConstraints(max_length=1000)] | None = None
    priority: Literal["low", "medium", "high"] | None = None
    due_date: AwareDatetime | None = None


class TaskPublic(SQLModel):
    id: UUID
    user_id: str
    title: str
    description: str | None
    completed: bool
    priority: str | None
    due_date: datetime | None
    created_at: datetime
    updated_at: datetime
    revision: int


class Task(SQLModel, table=True):
    __tablename__ = "peer_tasks"

    id: UUID | None = Field(default=None, primary_key=True, sa_column_kwargs=NEW_ID)
    user_id: str = Field(sa_type=Text)
    title: str = Field(sa_type=Text)
    description: str | None = Field(default=None, sa_type=Text)
    completed: bool = False
    priority: str | None = Field(default=None, sa_type=Text)
    due_date: datetime | None = Field(default=None, sa_type=TIMESTAMPTZ)
    created_at: datetime | None = Field(default=None, sa_type=TIMESTAMPTZ, sa_column_kwargs=NOW)
    updated_at: datetime | None = Field(default=None, sa_type=TIMESTAMPTZ, sa_column_kwargs=NOW)
    revision: int = Field(default=1, sa_type=BigInteger)


async def get_session() -> AsyncIterator[AsyncSession]:
    async with sessions() as session:
        yield session


async def get_current_user(token: Annotated[str, Depends(bearer)]) -> str:
    try:
        claims = jwt.decode(token, SECRET, algorithms=["HS256"])
    except jwt.InvalidTokenError:
        raise HTTPException(401, "Invalid token", headers={"WWW-Authenticate": "Bearer"}) from None
    return str(claims["sub"])


Session = Annotated[AsyncSession, Depends(get_session)]
CurrentUser = Annotated[str, Depends(get_current_user)]


@app.get("/api/tasks", response_model=list[TaskPublic])
async def list_tasks(user_id: CurrentUser, session: Session) -> object:
    query = select(Task).where(Task.user_id == user_id)
    query = query.order_by(col(Task.created_at).desc(), col(Task.id).desc()).limit(1000)
    return (await session.exec(query)).all()


@app.get("/api/tasks/{task_id}", response_model=TaskPublic)
async def get_task(task_id: UUID, user_id: CurrentUser, session: Session) -> object:
    task = (await session.exec(select(Task).where(Task.id == task_id, Task.user_id == user_id))).first()
    if task is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "Task not found")
    return task


@app.post("/api/tasks", response_model=TaskPublic, status_code=status.HTTP_201_CREATED)
async def create_task(new: TaskCreate, user_id: CurrentUser, session: Session, response: Response) -> object:
    task = Task.model_validate(new, update={"user_id": user_id})
    session.add(task)
    await session.commit()
    response.headers["Location"] = f"/api/tasks/{task.id}"
    return task
