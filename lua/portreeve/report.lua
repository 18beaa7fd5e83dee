-- What is to be said about configuration files: one list of errors, one of warnings, both bounded, every line with its place.
--   report.new(quiet)   quiet: nobody will read the warnings, so none takes pains over its words
--   r.error(entry, what), r.warn(entry, what)   entry = { file =, line =, entry =, text =, secret = }; line 0 and no entry are left out
local _ENV = nil

local SHOWN = 120 -- bytes of a value that a message repeats
local MOST = 50   -- messages kept of each sort; the rest is counted

local report = { most = MOST }

function report.new(quiet)
  local r = { errors = {}, warnings = {}, more = 0, quiet = quiet }
  local function add(list, e, what)
    if #list >= MOST then
      r.more = r.more + 1
      return
    end
    local value = e.secret and "***" or (e.text or "")
    if #value > SHOWN then value = value:sub(1, SHOWN) .. "…" end
    local shown = e.entry and ("%s=%s: "):format(e.entry, (value:gsub("%c", "?"))) or ""
    local place = (e.line or 0) > 0 and ("%s:%d: "):format(e.file, e.line) or e.file .. ": "
    list[#list + 1] = place .. shown .. what
  end
  function r.error(e, what) add(r.errors, e, what) end
  function r.warn(e, what) add(r.warnings, e, what) end
  return r
end

-- The place of an entry for a message, with another name or value where given.
function report.at(e, entry, text)
  return { file = e.file, line = e.line, entry = entry or e.entry, text = text or "" }
end

return report
