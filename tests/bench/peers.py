"""The peers of the benchmark: nginx with empty_gif, nginx with Lua, and nginx with Lua that records durably. Each is a folder with a configuration,
a process in the foreground, a port and a path."""
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'lib'))
import http1  # noqa: E402
from kernel import end  # noqa: E402

MODULES = '/usr/lib/nginx/modules'
HEAD = '''daemon off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/error.log warn; worker_rlimit_nofile 16000;
events {{ use epoll; worker_connections 15000; }}
http {{
  access_log off; server_tokens off; keepalive_timeout 600s; keepalive_requests 1000000000; default_type text/plain; tcp_nodelay on;
  client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3; uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
{http}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    listen 127.0.0.1:{tls_port} ssl backlog=4096;
    ssl_certificate {dir}/cert.pem; ssl_certificate_key {dir}/key.pem; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache off;
{server}
  }}
}}
'''
LOAD_LUA = 'load_module %s/ndk_http_module.so; load_module %s/ngx_http_lua_module.so;\n' % (MODULES, MODULES)
EMPTY = '''    location /trk/o/ { add_header Cache-Control no-store; add_header X-Robots-Tag noindex; empty_gif; }
    location / { return 404; }'''
# What our admission, route and tracker do, as somebody would write it for nginx: a denied list, a method, a path, a picture.
LUA_HTTP = '''  lua_package_path '/usr/share/lua/5.1/?.lua;;';
  init_by_lua_block {
    gif = ngx.decode_base64("R0lGODlhAQABAIAAAP///////yH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==")
    denied = { ["192.0.2.1"] = true }
  }
'''
LUA_SERVER = '''    location / {
      access_by_lua_block {
        if denied[ngx.var.remote_addr] then return ngx.exit(444) end
        local method = ngx.req.get_method()
        if method ~= "GET" and method ~= "HEAD" then return ngx.exit(405) end
      }
      content_by_lua_block {
        local token = string.match(ngx.var.uri, "^/trk/o/([%w_-]+)%.gif$")
        if not token then return ngx.exit(404) end
        RECORD
        local h = ngx.header
        h["Content-Type"] = "image/gif"; h["Content-Length"] = #gif; h["Cache-Control"] = "no-store"; h["X-Robots-Tag"] = "noindex"
        ngx.print(gif)
      }
    }'''
# Group commit: the requests of 5 ms wait for one write and one fdatasync.
COMMIT = '''  init_worker_by_lua_block {
    local ffi, semaphore = require "ffi", require "ngx.semaphore"
    ffi.cdef[[ int open(const char *path, int flags, int mode); long write(int fd, const void *p, unsigned long n); int fdatasync(int fd); ]]
    local fd = ffi.C.open("DIR/events.log", 1089, 384) -- O_WRONLY | O_CREAT | O_APPEND
    local lines, waiting, gate = {}, 0, semaphore.new()
    function record(line)
      waiting = waiting + 1
      lines[waiting] = line
      return gate:wait(10)
    end
    local function commit()
      if waiting > 0 then
        local text, n, old = table.concat(lines, "", 1, waiting), waiting, gate
        lines, waiting, gate = {}, 0, semaphore.new()
        if ffi.C.write(fd, text, #text) ~= #text or ffi.C.fdatasync(fd) ~= 0 then ngx.log(ngx.ERR, "cannot record") end
        old:post(n)
      end
      ngx.timer.at(0.005, commit)
    end
    ngx.timer.at(0, commit)
  }
'''
RECORD = 'if not record(ngx.now() .. "\\topen\\t" .. token .. "\\t" .. ngx.var.remote_addr .. "\\n") then return ngx.exit(503) end'


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Nginx:
    path = '/trk/o/EQEBBQADADdNvrQ8-oU7FCYqjpFUwg.gif'

    def __init__(self, kind, prefix=()):
        self.dir = tempfile.mkdtemp(prefix='nginx-')
        os.chmod(self.dir, 0o755)
        self.address, self.port_number, self.tls = '127.0.0.1', free_port(), free_port()
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=localhost', '-days', '2',
                        '-keyout', self.dir + '/key.pem', '-out', self.dir + '/cert.pem'], check=True, stderr=subprocess.DEVNULL)
        http, server = {'empty_gif': ('', EMPTY), 'lua': (LUA_HTTP, LUA_SERVER.replace('RECORD', '')),
                        'lua-commit': (LUA_HTTP + COMMIT.replace('DIR', self.dir), LUA_SERVER.replace('RECORD', RECORD))}[kind]
        conf = HEAD.format(dir=self.dir, port=self.port_number, tls_port=self.tls, http=http, server=server)
        user = 'user root; ' if os.geteuid() == 0 else ''
        with open(self.dir + '/nginx.conf', 'w') as f:
            f.write(user + (LOAD_LUA if kind != 'empty_gif' else '') + conf)
        with open(self.dir + '/out', 'w') as out:
            self.proc = subprocess.Popen(list(prefix) + ['/usr/sbin/nginx', '-p', self.dir, '-c', self.dir + '/nginx.conf', '-e', self.dir + '/error.log'],
                                         stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            self.ready()
        except BaseException:
            self.stop()
            raise

    def ready(self):
        for _ in range(400):
            if self.proc.poll() is not None:
                with open(self.dir + '/error.log') as f:
                    raise RuntimeError('nginx did not start: ' + f.read()[-1000:])
            try:
                if http1.get(self.address, self.port_number, self.path).status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise RuntimeError('nginx did not answer')

    def pid(self):
        return self.proc.pid

    def port(self):
        return self.port_number

    def tls_port(self):
        return self.tls

    def stop(self):
        end(self.proc)
        shutil.rmtree(self.dir, ignore_errors=True)
