-- Proves bind.lua: runs in the sandbox at every reload and `portreeve check`, and in `make test`.
local bind = require "policies.bind"
local fake = require "portreeve.fake"

local host = fake.host { "127.0.0.1", "192.0.2.1", "192.0.2.2", "::1", "2001:db8::1", "fe80::1%eth0" }
local none = { { "Components", "tracker" } } -- short lists: the sockets of one component

local function plan_of(entries, machine, more)
  local files = { ["tomcat.ini"] = entries, ["portreeve.ini"] = none }
  for name, list in pairs(more or {}) do files[name] = list end
  return bind(fake.rules(files), machine or host)
end

local function sockets(t, what, entries, want, machine)
  t.eq(fake.sockets(plan_of(entries, machine)), want, what)
end

local S1, S2, X1, X2 = "192.0.2.1", "2001:db8::1", { "Secure-192.0.2.1", "one" }, { "Secure-[2001:db8::1]", "" }
local B = { "BindAddress", "192.0.2.1, [2001:db8::1], 192.0.2.2:8081" }

return {
  ["R1: nothing configured is plain HTTP everywhere (M1, M3)"] = function(t)
    sockets(t, "R1", {}, { "http://0.0.0.0:80", "http://[::]:80" })
    sockets(t, "R1, Port", { { "Port", "8080" }, { "SecureServer", "false" } }, { "http://0.0.0.0:8080", "http://[::]:8080" })
  end,
  ["R2: only Secure- entries: exactly those, HTTPS (M4, M5)"] = function(t)
    sockets(t, "R2", { X1, X2 }, { "https://192.0.2.1:443 one", "https://[2001:db8::1]:443 default" })
  end,
  ["R3: SecureServer=true is HTTPS everywhere"] = function(t)
    sockets(t, "R3", { { "SecureServer", "true" }, { "SecurePort", "8443" } },
      { "https://0.0.0.0:8443 default", "https://[::]:8443 default" })
  end,
  ["R4: SecureServer=true with Secure- entries: every address of the host, each separately"] = function(t)
    sockets(t, "R4", { { "SecureServer", "true" }, X1 }, {
      "https://127.0.0.1:443 default", "https://192.0.2.1:443 one", "https://192.0.2.2:443 default", "https://[::1]:443 default",
      "https://[2001:db8::1]:443 default", "https://[fe80::1%eth0]:443 default" })
  end,
  ["R5: a SecureServer list: exactly those, HTTPS"] = function(t)
    sockets(t, "R5", { { "SecureServer", S1 .. ", [" .. S2 .. "]" } },
      { "https://192.0.2.1:443 default", "https://[2001:db8::1]:443 default" })
  end,
  ["R6: a list and Secure- entries: the union, the entry's certificate wins"] = function(t)
    sockets(t, "R6", { { "SecureServer", "192.0.2.2, 192.0.2.1" }, X1 }, { "https://192.0.2.1:443 one", "https://192.0.2.2:443 default" })
  end,
  ["R7: BindAddress alone: exactly those, plain (M6, M15)"] = function(t)
    sockets(t, "R7", { B, { "Port", "8080" } }, { "http://192.0.2.1:8080", "http://[2001:db8::1]:8080", "http://192.0.2.2:8081" })
  end,
  ["R8: BindAddress and Secure- entries: mixed; what is not bound is ignored with a warning"] = function(t)
    sockets(t, "R8", { B, X1 }, { "https://192.0.2.1:443 one", "http://[2001:db8::1]:80", "http://192.0.2.2:8081" })
    local p = plan_of { B, { "Secure-127.0.0.1", "" } }
    t.eq(#fake.sockets(p), 3)
    t.eq(p.warnings, { "conf/tomcat.ini:2: Secure-127.0.0.1: 127.0.0.1 is not in BindAddress: the entry is ignored for this address" })
  end,
  ["R9: BindAddress and SecureServer=true: all HTTPS; a written port stays"] = function(t)
    sockets(t, "R9", { B, { "SecureServer", "true" } },
      { "https://192.0.2.1:443 default", "https://[2001:db8::1]:443 default", "https://192.0.2.2:8081 default" })
  end,
  ["R10: the same with Secure- entries: they choose the certificate"] = function(t)
    sockets(t, "R10", { B, { "SecureServer", "true" }, X1 },
      { "https://192.0.2.1:443 one", "https://[2001:db8::1]:443 default", "https://192.0.2.2:8081 default" })
  end,
  ["R11: BindAddress and a SecureServer list: the common ones HTTPS"] = function(t)
    sockets(t, "R11", { B, { "SecureServer", "192.0.2.2, 127.0.0.1" } },
      { "http://192.0.2.1:80", "http://[2001:db8::1]:80", "https://192.0.2.2:8081 default" })
  end,
  ["R12: all three: those in either list HTTPS"] = function(t)
    sockets(t, "R12", { B, { "SecureServer", "192.0.2.2" }, X1 },
      { "https://192.0.2.1:443 one", "http://[2001:db8::1]:80", "https://192.0.2.2:8081 default" })
  end,
  ["every socket names the row's line in this policy, and file, line and entry (R8)"] = function(t)
    local s = plan_of({ B, X1 }).sockets[1]
    t.eq({ s.because.row, s.because.file, s.because.line, s.because.entry }, { "R8", "conf/tomcat.ini", 1, "BindAddress" })
    t.ok(s.because.policy:find("bind%.lua:%d+$"), s.because.policy)
  end,
  ["OnlyIPV4Addresses and OnlyIPV6Addresses (M8, M9)"] = function(t)
    sockets(t, "v4", { { "BindAddress", "OnlyIPV4Addresses" } }, { "http://0.0.0.0:80" })
    sockets(t, "v6", { { "BindAddress", "OnlyIPV6Addresses" }, { "SecureServer", "true" } }, { "https://[::]:443 default" })
    sockets(t, "mixed", { { "BindAddress", "OnlyIPV4Addresses" }, X1 },
      { "http://127.0.0.1:80", "https://192.0.2.1:443 one", "http://192.0.2.2:80" })
    local p = plan_of({ { "BindAddress", "OnlyIPV6Addresses" } }, fake.host { "127.0.0.1" })
    t.ok(p.errors[1] and p.errors[1]:find("no IPv6"), "a machine without IPv6 refuses")
  end,
  ["a link-local address gets its interface; two owners are an error (M20)"] = function(t)
    sockets(t, "one", { { "BindAddress", "[fe80::1]" } }, { "http://[fe80::1%eth0]:80" })
    local p = plan_of({ { "BindAddress", "[fe80::1]" } }, fake.host { "fe80::1%eth0", "fe80::1%eth1" })
    t.ok(p.errors[1]:find("eth0 and eth1", 1, true), p.errors[1])
  end,
  ["internal ports: 1099, and 7000 where the tracker is; only for lists/components.list"] = function(t)
    local p = plan_of {}
    t.eq(fake.sockets(p, "internal"), { "http://0.0.0.0:1099", "http://[::]:1099" })
    t.eq(fake.sockets(p, "communications"), { "http://0.0.0.0:7000", "http://[::]:7000" })
    t.eq(fake.sockets(plan_of({}, nil, { ["portreeve.ini"] = { { "Components", "hub" } } }), "communications"), {})
    for _, s in ipairs(p.sockets) do
      if s.name == "internal" or s.name == "communications" then t.eq({ s.restriction, s.list }, { "grant", "components" }) end
    end
  end,
  ["the shutdown port: 8007 on loopback, -1 and 0 are none (M64)"] = function(t)
    t.eq(fake.sockets(plan_of {}, "shutdown"), { "http://127.0.0.1:8007" })
    t.eq(fake.sockets(plan_of { { "ShutdownPort", "9100" } }, "shutdown"), { "http://127.0.0.1:9100" })
    t.eq(fake.sockets(plan_of { { "ShutdownPort", "-1" } }, "shutdown"), {})
    t.eq(fake.sockets(plan_of { { "ShutdownPort", "0" } }, "shutdown"), {})
  end,
  ["a section of listeners.ini is a listener of its own"] = function(t)
    local p = plan_of({}, nil, { ["listeners.ini"] = { { "ops.Port", "9180" }, { "ops.Address", "127.0.0.1" }, { "ops.Services", "ops" },
      { "front.Port", "8000" }, { "front.InitTLS", "Ext" }, { "front.Proxy", "Any" }, { "front.ProxyFrom", "device" },
      { "front.MaxConnections", "10" },
      { "tls.Port", "8443" }, { "tls.InitTLS", "On" } } })
    t.eq(fake.sockets(p, "ops"), { "http://127.0.0.1:9180" })
    t.eq(fake.sockets(p, "tls"), { "https://0.0.0.0:8443 default", "https://[::]:8443 default" })
    for _, s in ipairs(p.sockets) do
      if s.name == "front" then
        t.eq({ s.external, s.max_connections, s.scheme, s.proxy, s.proxy_from }, { true, 10, "http", "any", "device" })
      end
    end
  end,
  ["interfaces and groups stand for their addresses, the rows stay (R7, R8)"] = function(t)
    local more = { ["portreeve.ini"] = { none[1], { "Group-lan", "eth0, 127.0.0.1" } } }
    local p = plan_of({ { "BindAddress", "lan:8080" } }, host, more)
    t.eq(fake.sockets(p), { "http://[fe80::1%eth0]:8080", "http://127.0.0.1:8080" })
    p = plan_of({ { "BindAddress", "eth0" }, { "Secure-[fe80::1]", "one" } })
    t.eq(fake.sockets(p), { "https://[fe80::1%eth0]:443 one" })
    p = plan_of { { "BindAddress", "eth9" } }
    t.ok(p.errors[1]:find("eth9 is neither an interface", 1, true) and p.errors[1]:find("did you mean eth0?", 1, true), p.errors[1])
  end,
  ["an address that is missing is refused by the kernel, waited for or bound in advance (Q7, Q18)"] = function(t)
    local function missing(word)
      return fake.sockets(plan_of({ { "BindAddress", "192.0.2.77" } }, host, { ["listeners.ini"] = { { "http.WhenMissing", word } } }))
    end
    t.eq(missing "Refuse", { "http://192.0.2.77:80" })
    t.eq(missing "Wait", { "http://192.0.2.77:80 (waiting)" })
    t.eq(missing "Freebind", { "http://192.0.2.77:80 (freebind)" })
  end,
  ["a listener may have TCP and UDP sockets; what is counted counts for TCP (G1, G4, G16, G23)"] = function(t)
    local logs = { { "logs.Port", "127.0.0.1:5001" }, { "logs.Services", "remote-log" }, { "logs.MaxPerAddress", "9" },
      { "logs.2.Port", "127.0.0.1:5001" }, { "logs.2.Transport", "udp" }, { "logs.3.Port", "127.0.0.1:6514" }, { "logs.3.InitTLS", "On" } }
    local p = plan_of({}, nil, { ["listeners.ini"] = logs })
    t.eq(p.errors, {})
    local seen = {}
    for _, s in ipairs(p.sockets) do
      local limit = s.max_per_address or "none"
      if s.name == "logs" then seen[#seen + 1] = ("%s %d %s %s"):format(s.transport or "tcp", s.port, s.scheme, limit) end
    end
    t.eq(seen, { "tcp 5001 http 9", "udp 5001 http none", "tcp 6514 https 9" })
  end,
  ["a listener has rows, each a socket of its own; 0 is none (G1, G3, G6, G7)"] = function(t)
    local p = plan_of({}, nil, { ["listeners.ini"] = { { "a.Port", "127.0.0.1:8081" }, { "a.MaxConnections", "9" },
      { "a.2.Port", "192.0.2.1:8082" }, { "a.2.Restriction", "Deny" }, { "a.2.List", "bad" }, { "a.3.Port", "0" }, { "b.Port", "0" } } })
    t.eq(fake.sockets(p, "a"), { "http://127.0.0.1:8081", "http://192.0.2.1:8082" })
    t.eq(fake.sockets(p, "b"), {})
    for _, s in ipairs(p.sockets) do
      if s.name == "a" then t.eq({ s.restriction, s.max_connections }, { s.port == 8082 and "deny" or "none", 9 }) end
    end
  end,
}
