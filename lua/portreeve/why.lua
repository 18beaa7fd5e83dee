-- What `portreeve why` says in words: text(document) -> text; the document is that of --json.
local cjson = require "cjson"
local show = require "portreeve.console.show"
local ipairs = ipairs
local concat = table.concat
local date, format = os.date, string.format
local _ENV = nil

local verdicts = { allow = "let in", refuse = "refused", reset = "refused with a reset", answer = "answered and closed" }
local stages = {
  peer = "when the connection came (peer)", hello = "at the TLS greeting (hello)", identity = "after the TLS handshake (identity)",
  request = "at a request",
}

local function moment(ms)
  return date("%Y-%m-%d %H:%M:%S", ms // 1000) .. format(".%03d", ms % 1000)
end

local function endpoint(address, port)
  if not port then return address end
  return address:find(":", 1, true) and format("[%s]:%d", address, port) or format("%s:%d", address, port)
end

local function head(d)
  local out = { moment(d.ms), "  ", verdicts[d.verdict] or d.verdict }
  if d.status then out[#out + 1] = format(" with %d", d.status) end
  if d.reason then out[#out + 1] = format(" (%s)", d.reason) end
  out[#out + 1] = " " .. (stages[d.stage] or d.stage)
  return concat(out)
end

local function limit(n, word)
  return n and format(" (%s %d)", word, n) or ""
end

local function counts(d)
  local from = d.active_from_address
  local here = "more of this address than could be counted"
  if from ~= cjson.null then here = format("%d of this address%s", from, limit(d.per_address, "MaxPerAddress")) end
  local out = format("%d of the listener%s, %s", d.active, limit(d.maximum, "MaxConnections"), here)
  if d.reserve then out = out .. format(", %d kept for clients", d.reserve) end
  if d.rate_left then out = out .. format(", %d left of the rate", d.rate_left) end
  return out
end

local function decision(d, out)
  local function say(name, value)
    if value then out[#out + 1] = format("    %-12s%s", name, show.clean(value)) end
  end
  out[#out + 1] = head(d)
  say("caller", endpoint(d.address, d.port))
  local at = d["local"] and " on " .. endpoint(d["local"], d.local_port) or d.local_port and format(", port %d", d.local_port) or ""
  say("listener", d.listener .. at)
  say("policy", d.policy)
  say("list", d.list)
  say("entry", d.entry)
  if d.because ~= d.list then say("because", d.because) end
  say("connections", counts(d))
  say("sni", d.sni)
  say("tags", d.tags)
  say("delayed", d.delay_ms and format("%d ms", d.delay_ms))
  say("generation", format("%d", d.generation))
end

-- How far back what is where, in one sentence each.
local function reach(doc, out)
  local m, f = doc.memory, doc.files
  if m == cjson.null then
    out[#out + 1] = "No server runs with this state folder, so there is no memory to ask."
  elseif m.room == 0 then
    out[#out + 1] = "The server that runs remembers no decisions (portreeve.ini: Decisions=0)."
  elseif m.oldest_ms == 0 then
    out[#out + 1] = "The memory of the server that runs is still empty."
  else
    out[#out + 1] = format("The memory of the server that runs goes back to %s.", moment(m.oldest_ms))
  end
  if f.count == 0 then
    out[#out + 1] = "There is no log/decisions.log."
  elseif f.oldest_ms == 0 then
    out[#out + 1] = "log/decisions.log is empty."
  else
    local files = f.count > 1 and format(" (%d files)", f.count) or ""
    out[#out + 1] = format("log/decisions.log goes back to %s%s.", moment(f.oldest_ms), files)
  end
  if f.dropped > 0 then
    out[#out + 1] = format("%d decisions are missing in the files: the disk took no lines, or there were too many at once.", f.dropped)
  end
end

local function first_known(doc)
  local m, f = doc.memory ~= cjson.null and doc.memory.oldest_ms or 0, doc.files.oldest_ms
  if m == 0 or f ~= 0 and f < m then return f end
  return m
end

local function text(document)
  local doc, out = cjson.decode(document), {}
  if not doc.decisions[1] then
    out[1] = format("Nothing is known of decisions about %s.", show.clean(doc.address))
    reach(doc, out)
    return concat(out, "\n") .. "\n"
  end
  local first = first_known(doc)
  if doc.at_ms > 0 and doc.at_ms < first then
    out[1] = format("Nothing is known from before %s; these are the nearest.", moment(first))
  end
  for _, d in ipairs(doc.decisions) do
    decision(d, out)
  end
  return show.clean(concat(out, "\n"), true) .. "\n" -- whole: not every word comes from a table of ours
end

return { text = text }
