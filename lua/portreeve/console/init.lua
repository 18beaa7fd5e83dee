-- What `portreeve console` and `portreeve eval` offer inside the running engine. Operators' text is evaluated in an environment of the
-- sandbox's names and the functions below, under the step and memory limits of the console's own Lua state.
--   console.new(engine) -> { eval = function(text, as_json) -> ok, text, complete = function(word) -> array,
--                            answer = function(line, who) -> line }
--   engine: the module portreeve.engine, or a fake of it.
local cjson = require "cjson"
local bans = require "portreeve.console.bans"
local completion = require "portreeve.console.complete"
local edits = require "portreeve.edit"
local refusals = require "portreeve.console.refusals"
local safe = require "portreeve.safe"
local logs = require "portreeve.console.logs"
local settings = require "portreeve.settings"
local show = require "portreeve.console.show"
local error, getmetatable, ipairs, load, next, pairs, pcall, select, setmetatable, tostring, type =
  error, getmetatable, ipairs, load, next, pairs, pcall, select, setmetatable, tostring, type
local concat, pack, unpack = table.concat, table.pack, table.unpack
local format, math_type, len = string.format, math.type, utf8.len
local _ENV = nil

-- What help() says, in this order; `reads`: completion may call it.
local offers = {
  { "listeners()", "what is bound, by which rule and line, and how busy it is", reads = true },
  { 'listener("NAME")', "one listener, or several of that name" },
  { "connections([N])", "open connections, at most N (1000)", reads = true },
  { "refusals([N])", "who was refused: by reason and listener, how often, the last examples", reads = true },
  { "decisions{refused=true}", "what was decided about callers, newest first; or address=, listener=, reason=, verdict=, stage=, last=20" },
  { 'why("192.0.2.9", [N])', "the last decisions about an address or prefix" },
  { 'would{address="192.0.2.9", listener="http"}', "what would become of a caller; also local_address=, sni=, path=, at_ms= …" },
  { "lists()", "the address lists: lines, how often they have decided, how many never have and how many never can", reads = true },
  { 'lists("NAME")', "one list: the lines that decide most, those that never have, those that never can" },
  { 'lists.unused(["NAME"])', "lines that could decide and never have" },
  { 'lists.shadowed(["NAME"])', "lines that can never decide: later ones speak of all their addresses" },
  { "rules()", "the rules of admission: how often each was asked, refused and failed, and whether it runs in C or in Lua", reads = true },
  { "logs([N])", "the last messages of the remote log, newest first", reads = true },
  { 'logs{from="192.0.2.7", severity="err"}', "those that fit: also host, app, listener, text (a part of it), n; severity: or worse" },
  { 'ban("203.0.113.0/24", "1h", "scraping")', "shut an address, prefix or range out; {force=true} at the end: whoever it hits" },
  { 'unban("203.0.113.0/24")', "take exactly this ban back" },
  { "reap{dry=true}", "which living connections would not come in today" },
  { "reap()", "end those gently: idle ones at once, busy ones after their answer" },
  { "bans()", "the bans in force, and how many calls each has turned away", reads = true },
  { "plan()", "the bind plan in force", reads = true },
  { "probe()", "call every socket from within the machine: does this server answer, with the scheme and certificate planned?" },
  { "stats()", "counters since the server started", reads = true },
  { "config()", "what this engine runs with: components, workers, folders, certificates", reads = true },
  { "generations()", "the living generation and the last reload", reads = true },
  { "security()", "what the engine has given up: user, files, system calls", reads = true },
  { "status()", "all of it at once", reads = true },
  { "reload()", "read configuration and policies again; changes over if all of it is good; reload{force=true}: whoever it shuts out" },
  { 'listener.set("NAME", {Port=8081})', "change a listener, or add one: at once, and in listeners.ini; tunnels only with TunnelEdits=On" },
  { "listener.set{A={…}, B={…}}", "several listeners at once: all of it or nothing" },
  { 'listener.try("NAME", {…})', "what set would do; changes nothing" },
  { 'listener.remove("NAME")', "close a listener and take it out of listeners.ini (the same as Port=0)" },
  { "communications_port(7001)", "move the port where the ui fetches the tracker's events: in force at once, and in tracker.ini" },
  { 'where(list, "field", value)', 'the rows of a list with that value: where(connections(), "listener", "http")' },
  { 'count(list, "field")', 'how many rows have which value: count(decisions{refused=true}, "reason")' },
  { "help()", "this" },
}

local array = {} -- metatable: an empty list is a list in JSON too

local function as_list(t)
  return type(t) == "table" and setmetatable(t, array) or t
end

local function check_list(t, name)
  if type(t) ~= "table" then error(format("%s wants a list first, e.g. %s(connections(), …)", name, name), 3) end
end

local function help()
  local out, wide = {}, 0
  for _, o in ipairs(offers) do
    if len(o[1]) > wide then wide = len(o[1]) end
  end
  for i, o in ipairs(offers) do
    out[i] = o[1] .. (" "):rep(wide + 2 - len(o[1])) .. o[2]
  end
  out[#out + 1] = '\nAny Lua expression will do: #connections(), listeners()[1].because, count(connections(), "state").'
  out[#out + 1] = "Variables live for one line only."
  return concat(out, "\n")
end

-- Settings that have words for their numbers, by their words.
local function worded(numbers)
  local out = {}
  for entry, v in pairs(numbers) do
    out[entry] = v
  end
  for _, s in ipairs(settings) do
    local i = 0
    for word in (s[6]:find("|", 1, true) and s[6] or ""):gmatch "[^|]+" do
      if numbers[s[2]] == i then out[s[2]] = word end
      i = i + 1
    end
  end
  return out
end

-- The functions operators have, and those that stand behind a dot: { listener = { set = … } }. Each asks the engine anew.
-- session.who: who asks now, for the log; session.as_json: he wants JSON.
local function functions(engine, session)
  local f = {}
  function f.status()
    local s = engine.status()
    s.settings = s.settings and worded(s.settings)
    return s
  end
  function f.listeners() return as_list(engine.status().listeners or {}) end
  function f.listener(name)
    local out = as_list {}
    for _, l in ipairs(f.listeners()) do
      if l.name == name then out[#out + 1] = l end
    end
    if not out[1] then error(format("there is no listener '%s'", tostring(name)), 2) end
    return out[2] and out or out[1]
  end
  function f.connections(n) return as_list(engine.connections(n)) end
  refusals.offer(f, engine, as_list, session)
  bans.offer(f, engine, session, as_list)
  local function list_named(name)
    local l = type(name) == "string" and name ~= "" and engine.lists(name)
    if type(l) ~= "table" then error(format("there is no address list '%s': lists() shows all", tostring(name)), 0) end
    return l
  end
  function f.lists(name)
    if name == nil then return as_list(engine.lists()) end
    local l = list_named(name)
    for _, kind in ipairs { "most", "never", "shadows" } do
      if not l[kind][1] then l[kind], l[kind .. "_more"] = nil, nil end
    end
    return l
  end
  -- The rows of a kind, of one list or of all; what was left off of a list is a row too.
  local function rows_of(name, kind, make)
    local out = as_list {}
    for _, l in ipairs(name == nil and engine.lists() or { { name = name } }) do
      local one = list_named(l.name)
      for _, row in ipairs(one[kind]) do
        out[#out + 1] = make(row, l.name)
      end
      local more = one[kind .. "_more"]
      if more > 0 then out[#out + 1] = { name = l.name, text = format("… and %d more", more) } end
    end
    return out
  end
  local function unused(name)
    return rows_of(name, "never", function(row, list)
      return { name = list, file = row.file, line = row.line, to = row.to, lines = row.lines }
    end)
  end
  local function shadowed(name)
    return rows_of(name, "shadows", function(row, list)
      return { name = list, file = row.file, line = row.line, because = { file = row.by_file, line = row.by_line } }
    end)
  end
  function f.rules() return as_list(engine.rules()) end
  function f.logs(what) return as_list(logs.pick(engine.logs(1000), what)) end
  function f.plan() return as_list(engine.plan()) end
  function f.probe()
    local all, out = engine.probe(), as_list {}
    for i, l in ipairs(f.listeners()) do
      out[i] = { name = l.name, address = l.address, port = l.port, scheme = l.scheme, probe = l.probe, probe_us = l.probe_us,
        probe_at_ms = l.probe_at_ms, probe_text = l.probe_text }
    end
    if not all then error("not every socket has answered yet: listeners() shows how far it is", 0) end
    return out
  end
  function f.stats() return engine.stats() end
  function f.config()
    local s = engine.status()
    return { version = s.version, components = s.components, workers = s.workers, tracker_id = s.tracker_id, state_dir = engine.state_dir,
             certificates = s.certificates, settings = s.settings and worded(s.settings) }
  end
  function f.generations()
    local s = engine.status()
    return { generation = s.generation, since_ms = s.generation_ms, engine_since_ms = s.since_ms, last_reload = s.last_reload }
  end
  function f.security() return as_list(engine.status().security or error("this engine does not tell", 0)) end
  function f.reload(options)
    local fine, text = engine.reload(type(options) == "table" and options.force == true)
    if not fine then error(text ~= "" and text or "the reload was refused", 0) end
    return text ~= "" and text or "reloaded"
  end
  -- A change that is not in force is an error, like a reload that is refused.
  local function change(list, why, dry, force)
    if not list then error(why, 0) end
    local fine, text = engine.edit(list, { who = session.who, dry = dry or false, force = force })
    if not fine then error(text ~= "" and text or "the change was refused", 0) end
    return text
  end
  local function wanted(name, fields)
    if type(name) == "table" then return edits.listeners(name) end
    return edits.listener(name, fields)
  end
  local methods = { lists = { unused = unused, shadowed = shadowed }, listener = {
    set = function(name, fields, options)
      local list, why = wanted(name, fields)
      return change(list, why, false, type(options) == "table" and options.force == true)
    end,
    try = function(name, fields)
      local list, why = wanted(name, fields)
      return change(list, why, true)
    end,
    remove = function(name) return change(edits.remove(name)) end,
  } }
  function f.communications_port(port) return change(edits.communications_port(port)) end
  function f.where(list, field, value)
    check_list(list, "where")
    local out = as_list {}
    for _, row in ipairs(list) do
      if type(row) == "table" and row[field] == value then out[#out + 1] = row end
    end
    return out
  end
  function f.count(list, field)
    check_list(list, "count")
    local out = {}
    for _, row in ipairs(list) do
      local key = type(row) == "table" and row[field]
      key = type(key) == "string" and key or math_type(key) == "float" and key % 1 == 0 and format("%d", key) or tostring(key)
      out[key] = (out[key] or 0) + 1
    end
    return out
  end
  f.help = help
  return f, methods
end

-- Values JSON has no word for become text or go; cycles and depth are the encoder's errors.
local function plain(v, depth)
  if type(v) == "function" then return "function" end
  if type(v) ~= "table" then return v end
  if depth > 20 then error("nested too deeply for JSON", 0) end
  local out, list = {}, #v > 0
  for k in pairs(v) do
    list = list and type(k) == "number"
  end
  for k, x in pairs(v) do
    out[list and k or tostring(k)] = plain(x, depth + 1)
  end
  return out
end

local function to_json(v)
  if v == nil then return "null" end
  if type(v) == "table" and next(v) == nil then return getmetatable(v) == array and "[]" or "{}" end
  return cjson.encode(plain(v, 0))
end

local function render(results, as_json)
  local out = {}
  if as_json then
    if results.n == 0 then return "null" end
    for i = 1, results.n do
      out[i] = to_json(results[i])
    end
    return concat(out, "\n")
  end
  for i = 1, results.n do
    out[i] = show.show(results[i])
  end
  return concat(out, "\n")
end

-- A function with functions behind a dot; a new one for every line, since a line may write into it.
local function callable(f, methods)
  local out = {}
  for name, m in pairs(methods) do
    out[name] = m
  end
  return setmetatable(out, { __call = function(_, ...) return f(...) end, __metatable = false })
end

local function compile(text, env)
  local f = load("return " .. text, "=console", "t", env)
  if f then return f end
  return load(text, "=console", "t", env)
end

local function message(e)
  if type(e) == "table" and type(e.message) == "string" then e = e.message end
  return type(e) == "string" and show.clean(e, true) or "an error that is no text (a " .. type(e) .. ")"
end

local function new(engine)
  local session = {}
  local names, methods = functions(engine, session)
  local harmless = {}
  for _, o in ipairs(offers) do
    if o.reads then harmless[o[1]:match "^%a+"] = true end
  end

  -- Evaluate an expression, or statements. Variables live in a table of their own, so nobody can break the console for the next one.
  local function eval(text, as_json)
    session.as_json = as_json
    local base = safe.environment()
    for k, f in pairs(names) do
      base[k] = methods[k] and callable(f, methods[k]) or f
    end
    local f, err = compile(text, setmetatable({}, {
      __index = function(_, k)
        if base[k] ~= nil then return base[k] end
        error(format("there is no '%s' here; help() tells what there is", tostring(k)), 2)
      end,
      __metatable = false,
    }))
    if not f then return false, message(err) end
    local results = pack(pcall(f))
    if not results[1] then return false, message(results[2]) end
    local fine, out = pcall(render, pack(select(2, unpack(results, 1, results.n))), as_json)
    return fine, fine and out or message(out)
  end

  local function complete(word)
    return completion.complete(word, names, harmless, methods)
  end

  local function reply(fine, text)
    return format('{"ok":%s,"text":%s}', fine and "true" or "false", cjson.encode(text))
  end

  local function answer(line, who)
    session.who = who
    local fine, rq = pcall(cjson.decode, line)
    if not fine or type(rq) ~= "table" then return reply(false, "a request is one line of JSON") end
    if type(rq.eval) == "string" then return reply(eval(rq.eval, rq.json == true)) end
    if type(rq.complete) == "string" then return reply(true, concat(complete(rq.complete), "\n")) end
    return reply(false, 'a request has "eval" or "complete"')
  end

  return { eval = eval, complete = complete, answer = answer }
end

return { new = new }
