-- For wrk: with the argument "post" it sends the file named after it; at the end one line of JSON says what happened.
function init(args)
    if args[1] == "post" then
        local file = assert(io.open(args[2], "rb"))
        wrk.method = "POST"
        wrk.body = file:read("*a")
        wrk.headers["Content-Type"] = "application/json"
        file:close()
    elseif args[1] == "close" then
        wrk.headers["Connection"] = "close"
    end
end

function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format(
        '{"requests": %d, "micros": %d, "connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d, ' ..
        '"p50": %d, "p99": %d}\n',
        summary.requests, summary.duration, e.connect, e.read, e.write, e.status, e.timeout,
        latency:percentile(50), latency:percentile(99)))
end
