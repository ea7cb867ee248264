"""A Flask app that receives and sends large bodies; TRANSFER_FILE names the file that it sends."""

import hashlib
import os

from flask import Flask, jsonify, request, send_file

app = Flask(__name__)


@app.get("/")
def index():
    return f"generation of {os.environ['TRANSFER_NAME']}"


@app.post("/upload")
def upload():
    digest, size = hashlib.sha256(), 0
    while block := request.stream.read(65536):
        digest.update(block)
        size += len(block)
    return jsonify(size=size, sha256=digest.hexdigest())


@app.post("/form")
def form():
    sent = request.files["file"]
    return jsonify(filename=sent.filename, sha256=hashlib.sha256(sent.read()).hexdigest())


@app.get("/file")
def file():
    return send_file(os.environ["TRANSFER_FILE"], mimetype="application/octet-stream")


@app.get("/stream")
def stream():
    def blocks():
        with open(os.environ["TRANSFER_FILE"], "rb") as opened:
            while block := opened.read(100_000):
                yield block

    return app.response_class(blocks(), mimetype="application/octet-stream")
