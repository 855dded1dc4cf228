// SPDX-License-Identifier: Apache-2.0
'use strict';

const POLL_MS = 400;
const byId = (id) => document.getElementById(id);

// The running upload, or the current analysis; at most one of the two is set.
let upload = null;
let current = null;

function show(...ids) {
  for (const id of ['start', 'problem', 'progress', 'answer']) byId(id).hidden = !ids.includes(id);
}

function fail(message) {
  current = upload = null;
  history.replaceState(null, '', location.pathname);
  byId('problem-text').textContent = message;
  show('problem', 'start');
  window.scrollTo(0, 0);
}

function setProgress(text, share) {
  if (byId('progress-text').textContent !== text) byId('progress-text').textContent = text;
  if (share === null) byId('bar').removeAttribute('value');
  else byId('bar').value = share;
}

function begin(name) {
  byId('progress-name').textContent = name;
  show('progress');
}

function detailOf(text, status) {
  try {
    const detail = JSON.parse(text).detail;
    if (typeof detail === 'string') return detail;
  } catch (error) { /* no JSON: another server, or one that is shutting down */ }
  return `The server reported error ${status}.`;
}

function send(file) {
  begin(file.name);
  setProgress('Uploading', 0);
  const request = upload = new XMLHttpRequest();
  request.open('POST', '/api/analyses?name=' + encodeURIComponent(file.name));
  request.setRequestHeader('Content-Type', 'application/octet-stream');
  request.upload.onprogress = (event) => {
    if (event.lengthComputable && event.total) {
      const share = event.loaded / event.total;
      setProgress(share < 1 ? `Uploading: ${Math.round(100 * share)} %` : 'Checking the file', share < 1 ? share : null);
    }
  };
  request.onload = () => {
    upload = null;
    if (request.status === 202) follow(JSON.parse(request.responseText).id);
    else fail(detailOf(request.responseText, request.status));
  };
  request.onerror = () => fail('The upload failed: the server did not respond or closed the connection. Is the file larger than the limit?');
  request.onabort = () => { upload = null; show('start'); };
  request.send(file);
}

async function startExample(number, words) {
  begin('Example: ' + words);
  setProgress('Starting', null);
  try {
    const response = await fetch(`/api/examples/${number}`, { method: 'POST' });
    if (response.ok) follow((await response.json()).id);
    else fail(detailOf(await response.text(), response.status));
  } catch (error) {
    fail('The server does not respond.');
  }
}

function describe(status) {
  if (status.state === 'waiting') {
    const others = status.ahead === 1 ? 'one analysis' : `${status.ahead} analyses`;
    return setProgress(status.ahead ? `Waiting: ${others} ahead of yours` : 'Waiting', null);
  }
  if (!status.total) return setProgress('Opening the file', null);
  if (status.done < status.total) return setProgress(`Analyzing frame ${status.done + 1} of ${status.total}`, status.done / status.total);
  return setProgress('Writing the report', null);
}

async function follow(id) {
  current = id;
  history.replaceState(null, '', '#' + id);
  let misses = 0;
  while (current === id) {
    try {
      const response = await fetch(`/api/analyses/${id}`);
      if (current !== id) return;
      if (!response.ok) return fail(detailOf(await response.text(), response.status));
      const status = await response.json();
      misses = 0;
      if (current !== id) return;
      byId('progress-name').textContent = status.name;
      if (status.state === 'done') return finish(status);
      if (status.state === 'failed') return fail(`"${status.name}": ${status.message}`);
      if (status.state === 'stopped') return fail('The analysis was stopped.');
      show('progress');
      describe(status);
    } catch (error) {
      misses += 1;
      if (misses > 10) return fail('The server no longer responds.');
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function showReport(address) {
  // Not through `src`, which would add each report to the browser's history.
  byId('report').contentWindow.location.replace(address);
}

function finish(status) {
  const base = `/api/analyses/${status.id}`;
  byId('download-report').href = `${base}/report?download=true`;
  byId('download-json').href = `${base}/json`;
  byId('open-report').href = `${base}/report`;
  showReport(`${base}/report`);
  document.title = `${status.headline}: ${status.name}`;
  show('answer');
  window.scrollTo(0, 0);
}

function fit() {
  const page = byId('report').contentDocument;
  if (page && page.documentElement) {
    byId('report').style.height = '0';
    byId('report').style.height = `${page.documentElement.scrollHeight + 4}px`;
  }
}

function reset() {
  current = null;
  history.replaceState(null, '', location.pathname);
  document.title = 'Is this face genuine?';
  showReport('about:blank');
  show('start');
}

function forget() {
  const id = current;
  reset();
  if (id) fetch(`/api/analyses/${id}`, { method: 'DELETE' }).catch(() => {});
}

async function listExamples() {
  const list = byId('example-list');
  if (!list) return;
  try {
    const found = await (await fetch('/api/examples')).json();
    if (!found.ready) return void setTimeout(listExamples, 1500);
    if (!found.examples.length) return void byId('examples').remove();
    byId('example-wait').remove();
    found.examples.forEach((example, number) => {
      const button = document.createElement('button');
      const thumbnail = document.createElement('img');
      button.type = 'button';
      thumbnail.src = `/api/examples/${number}/thumbnail`;
      thumbnail.alt = '';
      button.append(thumbnail, example.words);
      button.onclick = () => startExample(number, example.words);
      list.append(button);
    });
  } catch (error) {
    byId('examples').remove();
  }
}

byId('file').onchange = (event) => {
  const file = event.target.files[0];
  // So that the same file can be chosen again.
  event.target.value = '';
  if (file) send(file);
};
byId('cancel').onclick = () => (upload ? upload.abort() : forget());
byId('forget').onclick = forget;
byId('again').onclick = reset;
byId('report').onload = fit;
window.addEventListener('resize', fit);
for (const type of ['dragover', 'dragleave', 'drop']) {
  // Anywhere on the page: a file dropped outside of the frame must not replace the page.
  document.addEventListener(type, (event) => {
    event.preventDefault();
    byId('drop').classList.toggle('over', type === 'dragover');
    if (type === 'drop' && !byId('start').hidden && event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
  });
}
listExamples();
if (location.hash.length > 1) follow(location.hash.slice(1));
