--- The name under which this ui reads a tracker's events. A tracker deletes what all names have stored, so two uis of one tracker need two
-- names, or the slower one loses what the faster has fetched (M27). It stands in STATE/db/ui.reader and so outlives restarts and a
-- database that is lost or exchanged.
local static = require "portreeve.web.static"
local sys = require "portreeve.sys"
local io_open = io.open
local _ENV = nil

local BEFORE = "ui" -- what every ui called itself before names were its own

local function read(path)
  local file = io_open(path, "rb")
  if not file then
    return nil
  end
  local text = file:read(65) or ""
  file:close()
  return text:match("^([%w._-]+)\n")
end

--- has_read: has the database fetched events before? Without a name it then did so under the old one, and a tracker waits for that.
-- -> name | nil, why
return function(state, has_read)
  local path = state .. "/db/ui.reader"
  local name = read(path)
  if name then
    return name
  end
  local ok, why = sys.create_file(path, (has_read and BEFORE or "ui-" .. static.hex(sys.random(8))) .. "\n")
  if not ok then
    return nil, why
  end
  name = read(path)
  if not name then
    return nil, path .. ": holds no name: remove it, and the ui takes a new one"
  end
  return name
end
