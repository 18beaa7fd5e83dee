--- Reading the rules table (`conf`) that handlers are made with, and where other components answer.
local ipairs, tointeger, tonumber, type = ipairs, math.tointeger, tonumber, type
local _ENV = nil

local function entry_of(conf, file, entry)
  local entries = conf and (conf[file] or conf[file .. ".ini"])
  local found = type(entries) == "table" and entries[entry]
  return type(found) == "table" and found or {}
end

-- Value of an entry, its default, or `otherwise`: value(conf, "lui", "TrackerHost", "localhost")
local function value(conf, file, entry, otherwise)
  local found = entry_of(conf, file, entry).value
  if found == nil then
    return otherwise
  end
  return found
end

-- Value of an entry that somebody wrote down (or gave with --set), else nil.
local function written(conf, file, entry)
  local found = entry_of(conf, file, entry)
  return (found.file or "") ~= "" and found.value or nil
end

-- Port 0 (a test run) was given a number by the kernel: this host's own engine knows it.
local function port_of(engine, configured, listener)
  local port = tointeger(tonumber(configured)) or 0
  if port ~= 0 or not engine then
    return port
  end
  local status = engine.status()
  for _, l in ipairs(status and status.listeners or {}) do
    local found = l.name == listener and tointeger(tonumber(l.port))
    if found then
      return found
    end
  end
  return 0
end

local function authority(host, port)
  if host:find(":", 1, true) and not host:find("^%[") then
    host = "[" .. host .. "]"
  end
  return ("%s:%d"):format(host, port)
end

return { value = value, written = written, port_of = port_of, authority = authority }
