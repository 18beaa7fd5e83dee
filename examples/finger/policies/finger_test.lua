local finger = require "policies.finger"

local function server()
  return { version = "1.2", generation = 7, since = 0, now = 93784000, sockets = 3, listeners = {
    { name = "http", address = "192.0.2.1", port = 80, scheme = "http", services = "tracker", active = 1, waiting = false },
    { name = "logs", address = "::", port = 5001, scheme = "udp", services = "remote-log", active = 0, waiting = true },
  } }
end

local function ask(line)
  local answer, state = finger({}, line, nil, server)
  return answer, state
end

return {
  ["an empty line gets all of it, then the connection ends"] = function(t)
    local answer, state = ask ""
    t.eq(state, nil)
    t.ok(answer:find("^Portreeve 1%.2, up 1 day 2:03, generation 7, 3 sockets%.\r\n"), answer)
    t.ok(answer:find("http +192%.0%.2%.1:80 +http +tracker +1 connection\r\n"), answer)
    t.ok(answer:find("logs +%[::%]:5001 +udp +remote%-log +waits for its address\r\n%.%.%. and 1 more\r\n$"), answer)
  end,
  ["a name gets its listener"] = function(t)
    t.ok(ask("http"):find("^http +192%.0%.2%.1:80"))
    t.ok(ask("  /W http "):find("^http "))
    t.eq(ask "smtp", "There is no listener of that name.\r\n")
  end,
  ["nobody else is asked, and nothing strange is repeated"] = function(t)
    t.eq(ask "root@example.org", "This server asks no other one for you.\r\n")
    t.eq(ask "\27[2J", "A listener's name has letters, digits, _ . and - only.\r\n")
    t.eq(ask(("x"):rep(65)), "A listener's name has letters, digits, _ . and - only.\r\n")
  end,
}
