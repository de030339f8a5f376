// @kubernetes/client-node: list, watch, informer, exec, attach, port-forward, logs, patches and server-side apply.
// Usage: node client_node.mjs NAMESPACE MODULES, where MODULES is the folder that the package was installed in.
import assert from 'node:assert';
import { createRequire } from 'node:module';
import net from 'node:net';
import { PassThrough, Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

const [namespace, modules] = process.argv.slice(2);
const resolve = createRequire(modules + '/').resolve;
const k8s = await import(pathToFileURL(resolve('@kubernetes/client-node')));
const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);

async function eventually(claim, what, withinMs = 40000) {
  for (const deadline = Date.now() + withinMs; Date.now() < deadline; await sleep(100)) {
    if (await claim()) return;
  }
  throw new Error(`not within ${withinMs} ms: ${what}`);
}

async function verbs() {
  const body = { metadata: { name: 'c', labels: { l: 'y' } }, data: { a: '1' } };
  await core.createNamespacedConfigMap({ namespace, body });
  const listed = await core.listNamespacedConfigMap({ namespace, labelSelector: 'l=y' });
  assert.deepEqual(listed.items.map((each) => each.data), [{ a: '1' }]);
  const patch = (how, content) =>
    core.patchNamespacedConfigMap(
      { name: 'c', namespace, body: content, fieldManager: 'me', force: how === 'ServerSideApply' || undefined },
      k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy[how]),
    );
  await patch('StrategicMergePatch', { data: { b: '2' } });
  await patch('MergePatch', { data: { a: null } });
  await patch('JsonPatch', [{ op: 'add', path: '/data/j', value: '3' }]);
  const applied = await patch('ServerSideApply', { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c' }, data: { s: '4' } });
  assert.deepEqual(applied.data, { b: '2', j: '3', s: '4' });
  const objects = k8s.KubernetesObjectApi.makeApiClient(config);
  const found = await objects.read({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c', namespace } });
  assert.equal(found.data.s, '4');
  await assert.rejects(core.readNamespacedConfigMap({ name: 'absent', namespace }), (error) => error.code === 404);
  assert.equal((await config.makeApiClient(k8s.VersionApi).getCode()).minor, '32');
}

async function watching() {
  const seen = [];
  const watch = new k8s.Watch(config);
  const path = `/api/v1/namespaces/${namespace}/configmaps`;
  const controller = await watch.watch(path, {}, (type, each) => seen.push(`${type} ${each.metadata.name}`), () => {});
  await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'w' } } });
  await core.deleteNamespacedConfigMap({ name: 'w', namespace });
  await eventually(() => seen.includes('ADDED w') && seen.includes('DELETED w'), `watch: ${seen}`);
  controller.abort();
  const informer = k8s.makeInformer(config, path, () => core.listNamespacedConfigMap({ namespace }));
  const told = [];
  for (const kind of ['add', 'update', 'delete']) informer.on(kind, (each) => told.push(`${kind} ${each.metadata.name}`));
  await informer.start();
  assert.ok(informer.list().some((each) => each.metadata.name === 'c'));
  await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'i' } } });
  await core.deleteNamespacedConfigMap({ name: 'i', namespace });
  await eventually(() => told.includes('add i') && told.includes('delete i'), `informer: ${told}`);
  await informer.stop();
}

function text(stream) {
  const said = [];
  stream.on('data', (chunk) => said.push(chunk));
  return () => Buffer.concat(said).toString();
}

async function streams() {
  for (const [name, spec] of [['web', {}], ['ticks', { command: ['sh', '-c', 'while sleep 0.1; do echo tick; done'] }]]) {
    const container = { name: 'c', image: 'steersman.local/web:1', ports: [{ containerPort: 8080 }], ...spec };
    const body = { metadata: { name }, spec: { containers: [container], terminationGracePeriodSeconds: 1 } };
    await core.createNamespacedPod({ namespace, body });
    const phase = async () => (await core.readNamespacedPod({ name, namespace })).status.phase;
    await eventually(async () => (await phase()) === 'Running', `${name} runs`);
  }
  const out = new PassThrough();
  const said = text(out);
  let status;
  const asked = ['sh', '-c', 'read x; echo got $x; exit 3'];
  await new k8s.Exec(config).exec(
    namespace, 'web', 'c', asked, out, new PassThrough(), Readable.from(['word\n']), false, (ended) => (status = ended),
  );
  await eventually(() => status && said() === 'got word\n', 'exec says what it was told');
  assert.equal(status.details.causes[0].message, '3');
  const ticks = new PassThrough();
  const ticked = text(ticks);
  const socket = await new k8s.Attach(config).attach(namespace, 'ticks', 'c', ticks, new PassThrough(), null, false);
  await eventually(() => ticked().includes('tick'), 'attach shows what it says');
  socket.close();
  const log = new PassThrough();
  const logged = text(log);
  const follow = await new k8s.Log(config).log(namespace, 'ticks', 'c', log, { follow: true });
  await eventually(() => logged().includes('tick\ntick'), 'the log is followed');
  follow.abort();
  const forward = new k8s.PortForward(config);
  const server = net.createServer((connection) => forward.portForward(namespace, 'web', [8080], connection, null, connection));
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  const browser = net.connect(server.address().port, '127.0.0.1');
  const answered = text(browser);
  browser.write('GET / HTTP/1.0\r\nHost: web\r\n\r\n');
  await eventually(() => /200 OK[^]*web/.test(answered()), 'the pod answers through the forwarded port');
  browser.destroy();
  server.close();
}

for (const part of [verbs, watching, streams]) {
  await part();
  console.log(part.name, 'ok');
}
process.exit(0);
