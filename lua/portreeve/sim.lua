-- Runs policies under plain lua5.4, with no server: for authors of policies and for the specs of tests/lua.
--   lua5.4 -e 'package.path = "lua/?.lua;" .. package.path; require("portreeve.sim").main { "policies/bind_test.lua" }'
-- The C modules that policies may use are replaced by plain Lua (portreeve.sim_addr); budgets and the sandbox are the server's affair.
local policytest = require "portreeve.policytest"
local assert, error, ipairs, loadfile, package, print, require, setmetatable, tostring =
  assert, error, ipairs, loadfile, package, print, require, setmetatable, tostring
local globals, exit = _G, os.exit
local _ENV = nil

local sim = {}

-- Put the replacements in place; call before requiring anything that needs an address.
function sim.install()
  package.preload["portreeve.addr"] = package.preload["portreeve.addr"] or function() return require "portreeve.sim_addr" end
end

-- The value a policy file returns. Its `require` knows portreeve.* and policies.NAME (files of the same folder).
function sim.policy(path)
  local folder = path:match("^(.*)/[^/]*$") or "."
  local env = {}
  for _, name in ipairs { "assert", "error", "ipairs", "math", "next", "pairs", "pcall", "select", "setmetatable", "string", "table",
                          "tonumber", "tostring", "type", "utf8" } do
    env[name] = globals[name]
  end
  env.require = function(name)
    local policy = name:match("^policies%.([%w_]+)$")
    if policy then return sim.policy(folder .. "/" .. policy .. ".lua") end
    if name:find("^portreeve%.") then return require(name) end
    error(("a policy may not require '%s'"):format(name), 2)
  end
  setmetatable(env, { __index = function(_, key) error(("there is no '%s' here"):format(tostring(key)), 2) end,
                      __newindex = function(_, key) error(("'%s' would be a global: write local"):format(tostring(key)), 2) end })
  return assert(loadfile(path, "t", env))()
end

-- Run one NAME_test.lua. Returns the number of tests and a list of "name: why" of those that failed.
function sim.test(path)
  local results, why = policytest.run(sim.policy(path))
  if not results then return 0, { path .. ": " .. why } end
  local failed = {}
  for _, r in ipairs(results) do
    if not r.ok then failed[#failed + 1] = r.name .. ": " .. r.message end
  end
  return #results, failed
end

function sim.main(paths)
  sim.install()
  local bad = 0
  for _, path in ipairs(paths) do
    local n, failed = sim.test(path)
    for _, why in ipairs(failed) do
      print(why)
    end
    bad = bad + #failed
    print(("%s: %d tests, %d failed"):format(path, n, #failed))
  end
  exit(bad == 0 and #paths > 0)
end

return sim
