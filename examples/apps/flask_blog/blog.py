"""A small blog: a form, a list, SQLite. Its database lies in the directory that EXAMPLES_STATE names."""

import os
import sqlite3
from pathlib import Path

from flask import Flask, abort, g, redirect, render_template, request, url_for

STATE = Path(os.environ.get("EXAMPLES_STATE", Path(__file__).parents[2] / ".state"))

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 64 * 1024


def database():
    """The connection of this request; a first one makes the table."""
    if "database" not in g:
        STATE.mkdir(parents=True, exist_ok=True)
        g.database = sqlite3.connect(STATE / "blog.sqlite3", timeout=10)
        g.database.row_factory = sqlite3.Row
        g.database.execute(
            "CREATE TABLE IF NOT EXISTS post (id INTEGER PRIMARY KEY, title TEXT NOT NULL, text TEXT NOT NULL,"
            " written TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M', 'now', 'localtime')))"
        )
    return g.database


@app.teardown_appcontext
def close(_error):
    opened = g.pop("database", None)
    if opened is not None:
        opened.close()


@app.get("/")
def index():
    posts = database().execute("SELECT * FROM post ORDER BY id DESC LIMIT 50").fetchall()
    return render_template("index.html", posts=posts, pid=os.getpid())


@app.post("/")
def write():
    title, text = request.form.get("title", "").strip(), request.form.get("text", "").strip()
    if not title or not text:
        abort(400, "A post needs a title and a text.")
    with database() as connection:
        connection.execute("INSERT INTO post (title, text) VALUES (?, ?)", (title[:100], text[:10000]))
    return redirect(url_for("index"), code=303)
