--- The URL settings and who is in which group: system.db, shared by hub and ui of one host.
local sys = require "portreeve.sys"
local ipairs, pairs, setmetatable, tonumber = ipairs, pairs, setmetatable, tonumber
local _ENV = nil

local ROWS_MOST = 10000

local methods = {}
local metatable = { __index = methods }

-- db: the handle of system.db (an accounts store has it as .db).
local function new(db)
  return setmetatable({ db = db }, metatable)
end

--- Everything, as portreeve.hub.urlrules takes it. -> { set =, group_of = } | nil, why
function methods:all()
  local rows, why = self.db:rows("SELECT level, name, setting, url FROM url_setting ORDER BY level, name LIMIT ?", ROWS_MOST)
  if not rows then
    return nil, why
  end
  local groups, fault = self.db:rows("SELECT account, grp FROM account_group ORDER BY account LIMIT ?", ROWS_MOST)
  if not groups then
    return nil, fault
  end
  local out = { set = { default = {}, group = {}, user = {} }, group_of = {}, rows = rows }
  for _, r in ipairs(rows) do
    local names = out.set[r.level] or {}
    out.set[r.level] = names
    names[r.name] = names[r.name] or {}
    names[r.name][r.setting] = r.url
  end
  for _, g in ipairs(groups) do
    out.group_of[g.account] = g.grp
  end
  return out
end

-- urls: { key = url | "" (cleared) }. All of it or nothing. -> true | nil, why
function methods:put(level, name, urls, by)
  return self.db:transaction(function(tx)
    for key, url in pairs(urls) do
      tx:run("DELETE FROM url_setting WHERE level = ? AND name = ? AND setting = ?", level, name, key)
      if url ~= "" then
        tx:run("INSERT INTO url_setting (level, name, setting, url, changed_ms, changed_by) VALUES (?, ?, ?, ?, ?, ?)", level, name, key,
          url, sys.now_ms(), by)
      end
    end
    if tonumber(tx:one("SELECT COUNT(*) AS n FROM url_setting").n) > ROWS_MOST then
      tx:fail("more than " .. ROWS_MOST .. " settings: clear some first")
    end
  end)
end

-- group "" = in none. -> true | nil, why
function methods:put_group(account, group)
  return self.db:transaction(function(tx)
    tx:run("DELETE FROM account_group WHERE account = ?", account)
    if group ~= "" then
      tx:run("INSERT INTO account_group (account, grp) VALUES (?, ?)", account, group)
    end
  end)
end

return { new = new }
